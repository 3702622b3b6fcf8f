"""Send to Grafana Cloud for real, and see what its gateway answers.

    export GRAFANA_OTLP_ENDPOINT=https://otlp-gateway-prod-eu-west-0.grafana.net/otlp
    export GRAFANA_OTLP_TOKEN=123456:glc_...
    python grafana_cloud.py

Prints how each request ended, and the query that finds the records. Exit code 0 if all arrived, 1 if not, 2 if a
setting is missing or unusable: then it says which, and where to get it. Never prints the token.

Running this counts as agreeing to the one event it sends. Its state is in a temporary directory, so each run is one
more install on your dashboards; all of them carry ``deployment.environment.name=example``.
"""

import os
import sys
import tempfile

from telemetry_sdk import Telemetry

NEEDED = {
    "GRAFANA_OTLP_ENDPOINT": "https://otlp-gateway-<zone>.grafana.net/otlp",
    "GRAFANA_OTLP_TOKEN": "<instance id>:<token>, or the token alone with GRAFANA_OTLP_INSTANCE_ID beside it",
}
WHERE = """
Sign in at grafana.com, open your stack, and choose Configure on its OpenTelemetry card: it shows the endpoint and the
instance id (a number), and makes the token (it begins with glc_; the scope logs:write is enough).
Whoever has the token can write to your logs: in a program that others install, name a Collector of yours instead."""
HINTS = {
    401: "The gateway does not know this instance id with this token.",
    403: "The token is known and may not write logs: it needs the scope logs:write.",
    404: "There is no OTLP under this address: the endpoint of Grafana Cloud ends in /otlp.",
}


def main() -> int:
    """Send, and print the answers; return the exit code."""
    problems = [f"{name} is not set: {what}" for name, what in NEEDED.items() if not os.environ.get(name, "").strip()]
    with tempfile.TemporaryDirectory() as state_dir:
        telemetry = Telemetry(
            "acme-notes", version="2.4.0", environment="example", state_dir=state_dir, delivery="sync"
        )
        if telemetry.status().sink_problem and not problems:
            problems.append(telemetry.status().sink_problem)
        if problems:
            print(*problems, WHERE, sep="\n", file=sys.stderr)
            return 2
        with telemetry:  # sends first_seen and a heartbeat
            telemetry.opt_in()
            telemetry.track_event("note.created", {"source": "example"})
            status, requests = telemetry.status(), telemetry.sent_log()
    for request in requests:
        print(f"{request.at}  {request.sink}  {request.status or '-'}  {request.verdict}  {request.reason}".rstrip())
    ledger = status.ledger or {"accepted": 0, "delivered": 0}
    print(f"made: {ledger['accepted']}, arrived: {ledger['delivered']}")
    if 0 < ledger["accepted"] == ledger["delivered"]:
        print(f'Explore > Loki: {{service_name="acme-notes"}} | identity="{status.install_id}"')
        return 0
    print(HINTS.get(status.last_status or 0) or status.waiting or f"level {status.level.name}: {status.reason}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
