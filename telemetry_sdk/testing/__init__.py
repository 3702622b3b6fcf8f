"""For a host's own tests: assert on what would be sent, while nothing ever leaves the test run.

Under pytest there is nothing to set up: see `plugin`. Elsewhere `capture_all` does the same for a block of code, and
`capture` makes one `Telemetry` to hand to the code under test.

What can be imported from here is supported. Never import it from a program: it is for tests.
"""

from telemetry_sdk.testing.stage import (
    Captured,
    FakeClock,
    MemorySink,
    SentRecord,
    capture,
    capture_all,
    read_records,
    seeded_ids,
)

__all__ = [
    "Captured",
    "FakeClock",
    "MemorySink",
    "SentRecord",
    "capture",
    "capture_all",
    "read_records",
    "seeded_ids",
]
