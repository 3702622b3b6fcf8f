"""Living in somebody else's process: what keeps us out of the host's way."""
