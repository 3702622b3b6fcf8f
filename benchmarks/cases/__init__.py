"""The cases, in the order of the document. Each has ``measure(bench)``, which returns its tables."""
