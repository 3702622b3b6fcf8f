"""A to-do list for the command line that counts which commands are used, once its user has agreed.

    python command_line_app.py add "buy milk"       prints the list; on a terminal asks about analytics, once
    python command_line_app.py telemetry preview    prints what would be sent, before anybody agreed to it
    python command_line_app.py telemetry on         stores a yes (off: a no)
    python command_line_app.py telemetry status     prints what may leave, who decided that, and where it goes
    python command_line_app.py telemetry --help     prints the rest: log, flush, reset, forget, doctor

It sends in the background: a command never waits for the network longer than ``exit_timeout``, and what could not
be sent by then is kept and leaves with the next command. Without a sink nothing is collected: set
ACME_TODO_TELEMETRY_ENDPOINT, for example to what ``python -m telemetry_sdk receive`` prints.

Keeps the list in ./todo.txt (``--file``), and telemetry's state in the user data directory (ACME_TODO_TELEMETRY_DIR).
"""

import argparse
import sys
from pathlib import Path

from telemetry_sdk import Telemetry
from telemetry_sdk.cli import add_telemetry_commands


def main() -> int:
    """Run one command; return the exit code."""
    telemetry = Telemetry(
        "acme-todo",
        version="1.3.0",
        purpose="to know which commands are used",
        command="python command_line_app.py telemetry",
        delivery="background",
        exit_timeout=0.5,
    )
    parser = argparse.ArgumentParser(description="A to-do list.")
    parser.add_argument("--file", type=Path, default=Path("todo.txt"), help="the list (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("add").add_argument("text")
    commands.add_parser("done").add_argument("number", type=int)
    add_telemetry_commands(commands, telemetry)
    arguments = parser.parse_args()

    if arguments.command == "telemetry":
        # Not started: nothing leaves while somebody is here to decide about it.
        return int(arguments.run_telemetry(arguments))
    with telemetry:
        try:
            items = work(arguments)
        except (OSError, ValueError) as error:
            # The kind of error and not its text, which may hold a path or what the user wrote.
            telemetry.track_event("todo.failed", {"command": arguments.command, "error": type(error).__name__})
            print(f"error: {error}", file=sys.stderr)
            return 1
        telemetry.ask()  # after the work: once, and again only for what is new; never without a terminal
        telemetry.track_event("todo.used", {"command": arguments.command, "items": len(items)})
    return 0


def work(arguments: argparse.Namespace) -> list[str]:
    """Run a command of the to-do list itself; return the list as it is now."""
    file: Path = arguments.file
    items = file.read_text("utf-8").splitlines() if file.exists() else []
    if arguments.command == "add":
        items.append(arguments.text)
    elif arguments.command == "done":
        if not 1 <= arguments.number <= len(items):
            raise ValueError(f"there is no item {arguments.number}")
        del items[arguments.number - 1]
    if arguments.command != "list":
        file.write_text("".join(f"{item}\n" for item in items), "utf-8")
    print("".join(f"{number}. {item}\n" for number, item in enumerate(items, 1)), end="")
    return items


if __name__ == "__main__":
    sys.exit(main())
