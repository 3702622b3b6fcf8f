"""Motion: take what may leave, send it, write down how it ended."""
