"""Over the catalogue: its page, the check of a host's source, the privacy page."""
