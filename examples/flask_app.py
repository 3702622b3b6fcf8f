"""A Flask app: page views and events with their route, browser, device and user, once /privacy has a yes.

    flask --app flask_app run                       prints its address
    gunicorn --preload --workers 4 flask_app:app    the same with several processes, which are one install

It sends in the background: no visitor waits for the sink. A page view carries the route, ``/timers/{timer_id}``, and
never the path that was asked for. Consent belongs to the install: in a real app /privacy is for the administrator,
behind a login and a CSRF check, and the user comes from a session. Without a sink nothing is collected: set
ACME_FLASK_TELEMETRY_ENDPOINT. Needs ``pip install '.[web]' flask``.
"""

from flask import Flask, request

from telemetry_sdk import Telemetry
from telemetry_sdk.web import WSGIMiddleware

telemetry = Telemetry("acme-flask", version="1.0.0", delivery="background")
app = Flask(__name__)
app.wsgi_app = WSGIMiddleware(app.wsgi_app, telemetry, page_views=True)
telemetry.start()


@app.before_request
def identify() -> None:
    """Say whose request this is; it holds for this request only."""
    if user := request.cookies.get("user"):
        telemetry.identify_user(user)


@app.get("/")
def index() -> str:
    ask = "<p>Whoever runs this: POST wish=on or wish=off to /privacy</p>" if telemetry.should_ask() else ""
    return f"<p>Timers</p>{ask}"


@app.get("/timers/<int:timer_id>")
def show(timer_id: int) -> str:
    return f"<p>Timer {timer_id}</p>"


@app.post("/timers")
def start() -> tuple[str, int]:
    telemetry.track_event("timer.started", {"minutes": request.form.get("minutes", 25, int)})
    return "started", 201


@app.post("/privacy")
def decide() -> str:
    if request.form.get("wish") == "on":
        telemetry.opt_in()
    else:
        telemetry.opt_out()
    return f"analytics are {'on' if telemetry.is_detailed_analytics_enabled() else 'off'}"
