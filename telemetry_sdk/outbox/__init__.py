"""The durable queue: records wait here until the sink has them.

What goes wrong in it is here, for an event comes in by the spool without loading what is behind it.
"""


class StoreError(Exception):
    """The outbox could not do what was asked; the message says why, in plain words."""
