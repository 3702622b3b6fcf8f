"""A self-hosted web app that counts page views by route, once whoever runs it has agreed on its page /privacy.

    python web_app.py [--port 8000] [--requests N]

Prints its address, and stops after N requests or with Ctrl-C. It sends in the background, so no visitor waits for
the sink. A page view carries the route, ``/notes/{id}``: not the path that was asked for, and nothing of the visitor.

Consent belongs to the install here, not to a visitor: in a real app /privacy is for the administrator, behind a login
and the framework's CSRF check. Without a sink nothing is collected: set ACME_WEB_TELEMETRY_ENDPOINT, for example to
what ``python -m telemetry_sdk receive`` prints. Keeps its state in the user data directory (ACME_WEB_TELEMETRY_DIR).
"""

import argparse
import contextlib
import re
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from telemetry_sdk import Telemetry

ROUTES = {"/": r"/", "/notes/{id}": r"/notes/\d+", "/privacy": r"/privacy"}
CHOICE = "<p>Analytics are {}: {}.</p><form method=post><button name=wish value={}>Turn them {}</button></form>"

telemetry = Telemetry("acme-web", version="0.9.2", delivery="background")


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answer one request: the WSGI application."""
    route = next((route for route, path in ROUTES.items() if re.fullmatch(path, environ["PATH_INFO"])), None)
    if route is None:
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"There is no such page."]
    if route == "/privacy" and environ["REQUEST_METHOD"] == "POST":
        form = parse_qs(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)).decode("ascii", "replace"))
        if form.get("wish") == ["on"]:
            telemetry.opt_in()
        else:
            telemetry.opt_out()
        start_response("303 See Other", [("Location", "/privacy")])
        return []
    telemetry.track_page_view(route, {"method": environ["REQUEST_METHOD"]})
    start_response("200 OK", [("Content-Type", "text/html; charset=utf-8")])
    ask = "<p><a href=/privacy>May this program report which pages are used?</a></p>" if telemetry.should_ask() else ""
    return [(privacy() if route == "/privacy" else f"<p>This is {route}</p>{ask}").encode()]


def privacy() -> str:
    """Return the page that says what holds and offers the opposite."""
    now, other = ("on", "off") if telemetry.is_detailed_analytics_enabled() else ("off", "on")
    return CHOICE.format(now, telemetry.status().reason, other, other)


class Handler(WSGIRequestHandler):
    """Handles requests without an access log: visitors' addresses are not ours to keep."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name http.server gave it
        """Say nothing."""


def main() -> None:
    """Serve until enough requests have come or somebody presses Ctrl-C."""
    parser = argparse.ArgumentParser(description="A web app with telemetry.")
    parser.add_argument("--port", type=int, default=8000, help="0 for a free one (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=0, help="stop after so many (default: never)")
    arguments = parser.parse_args()
    server = make_server("127.0.0.1", arguments.port, app, handler_class=Handler)
    with contextlib.suppress(KeyboardInterrupt), server, telemetry:
        print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
        for _ in range(arguments.requests):
            server.handle_request()
        if not arguments.requests:
            server.serve_forever()


if __name__ == "__main__":
    main()
