"""A click program that counts which of its commands are used, once its user has agreed.

    python click_app.py start 25            prints when the timer ends; on a terminal asks about analytics, once
    python click_app.py telemetry preview   prints what would be sent, before anybody agreed to it
    python click_app.py telemetry on        stores a yes (off: a no), prints what holds now
    python click_app.py telemetry log       prints what was sent, byte for byte, and how it ended (status: what holds)

It sends in the background: a command never waits for the network longer than ``exit_timeout``, and what could not be
sent by then leaves with the next command. Without a sink nothing is collected: set ACME_CLICK_TELEMETRY_ENDPOINT.
Keeps its state in the user data directory (ACME_CLICK_TELEMETRY_DIR). Needs ``pip install . click``.
"""

from datetime import datetime, timedelta

import click

from telemetry_sdk import Telemetry

telemetry = Telemetry("acme-click", version="1.0.0", delivery="background", command="python click_app.py telemetry")


@click.group()
@click.pass_context
def cli(context: click.Context) -> None:
    """Time what you do."""
    # Not for the command that decides about it: nothing leaves while somebody is here to say no.
    if context.invoked_subcommand != "telemetry":
        context.with_resource(telemetry)


@cli.command()
@click.argument("minutes", type=click.IntRange(1, 600))
def start(minutes: int) -> None:
    """Start a timer."""
    click.echo(f"ends at {datetime.now().astimezone() + timedelta(minutes=minutes):%H:%M}")
    telemetry.ask()  # once, and again only for what is new; never without a terminal
    telemetry.track_event("timer.started", {"minutes": minutes})


@cli.command("telemetry")
@click.argument("wish", type=click.Choice(["on", "off", "status", "preview", "log"]))
def decide(wish: str) -> None:
    """Turn detailed analytics on or off, or say what holds, what would be sent, what was sent."""
    if wish == "preview":
        shown = telemetry.preview("timer.started", {"minutes": 25})
        for body in filter(None, (shown.base, shown.analytics)):
            click.echo(body)
    elif wish == "log":
        click.echo("\n".join(f"{it.at} {it.verdict} {it.body.decode()}" for it in telemetry.sent_log()))
    else:
        if wish == "on":
            telemetry.opt_in()
        elif wish == "off" and not telemetry.opt_out():
            raise click.ClickException(f"could not be stored: {telemetry.status().state_problem}")
        status = telemetry.status()
        click.echo(f"telemetry: {status.level.name}, because {status.reason} ({status.decided_by})")


if __name__ == "__main__":
    cli()
