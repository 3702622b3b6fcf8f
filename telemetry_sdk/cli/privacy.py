"""``privacy``: write the page that tells users what is sent and what they can do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from telemetry_sdk.analytics.catalog import file as catalog_file
from telemetry_sdk.catalog_tools import privacy_page
from telemetry_sdk.cli.page import fail, put
from telemetry_sdk.model import ConfigError

if TYPE_CHECKING:
    import argparse

__all__ = ["add_privacy"]

_PAGE: Final = "privacy.md"


def add_privacy(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to *commands*."""
    privacy = commands.add_parser(
        "privacy",
        help="write the privacy page of an app",
        description="Write what an app sends, why, when, where to, how long it is kept, and how to see, stop and "
        "delete it, with a text for the vendor's own privacy policy.",
    )
    privacy.add_argument("--name", default="the program", help="the app's name (default: %(default)s)")
    privacy.add_argument("--sink", default="", metavar="HOST", help="where records go")
    privacy.add_argument("--catalog", metavar="FILE", help="the catalogue of the app's events")
    privacy.add_argument("--output", metavar="PATH", default=_PAGE, help="the page (default: %(default)s)")
    privacy.add_argument("--check", action="store_true", help="write nothing; fail if the page is not up to date")
    privacy.set_defaults(run=_privacy)


def _privacy(arguments: argparse.Namespace) -> int:
    try:
        catalog = catalog_file.load(arguments.catalog) if arguments.catalog is not None else None
    except ConfigError as error:
        return fail(str(error))
    page = privacy_page.render(app=arguments.name, sink=arguments.sink, catalog=catalog)
    return put(page, arguments.output, check=arguments.check, source="the source", command="privacy")
