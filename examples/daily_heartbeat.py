"""Send today's heartbeat from a scheduler, for a service that runs for months or a job that keeps no process.

    python daily_heartbeat.py        prints the receipt: DELIVERED, QUEUED (kept for the next call) or SUPPRESSED

One call does it, as often as the scheduler likes, from as many processes as it likes: the first of a UTC day in which
telemetry is allowed sends the heartbeat, the others are SUPPRESSED. Schedule it hourly, so that a machine that sleeps
through the hour is counted all the same, and at a minute of your own, so that not all installs send at once.

    cron         17 * * * *  /usr/bin/python3 /opt/acme/daily_heartbeat.py
    systemd      OnCalendar=hourly  RandomizedDelaySec=1h  Persistent=true
    APScheduler  scheduler.add_job(telemetry.heartbeat_if_due, "interval", hours=1, jitter=600)
    Celery beat  {"schedule": 3600.0, "task": "acme.beat"}, and in the task: telemetry.heartbeat_if_due()

A program that calls ``telemetry.start()`` needs none of this: its own schedule does the same.
Without a sink nothing is sent: set ACME_BACKUP_TELEMETRY_ENDPOINT, for example to what ``python -m telemetry_sdk
receive`` prints. Keeps its state in the user data directory (ACME_BACKUP_TELEMETRY_DIR).
"""

import sys

from telemetry_sdk import Outcome, Telemetry


def main() -> int:
    """Send the heartbeat if it is due; the exit code is 1 only if it could be neither sent nor kept."""
    # sync: nobody waits for this job, and its output says what became of the heartbeat.
    telemetry = Telemetry("acme-backup", version="5.2.0", delivery="sync")
    receipt = telemetry.heartbeat_if_due()
    print(f"{receipt.outcome.name} {receipt.reason or receipt.uid}")
    telemetry.close(timeout=5)  # also sends what an earlier call had to keep
    return 1 if receipt.outcome in (Outcome.DROPPED, Outcome.REFUSED) else 0


if __name__ == "__main__":
    sys.exit(main())
