"""A FastAPI app: page views and events with their route, browser, device and user, once /privacy has a yes.

    uvicorn --workers 2 fastapi_app:app             prints its address; the processes are one install

It sends in the background: the event loop never waits for the sink. A page view carries the route,
``/timers/{timer_id}``, and never the path that was asked for. Consent belongs to the install: in a real app /privacy
is for the administrator, behind a login and a CSRF check, and the user comes from a session. Without a sink nothing
is collected: set ACME_FASTAPI_TELEMETRY_ENDPOINT. Needs ``pip install '.[web]' fastapi uvicorn``.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Body, Cookie, Depends, FastAPI
from fastapi.responses import HTMLResponse, PlainTextResponse

from telemetry_sdk import Telemetry
from telemetry_sdk.web import ASGIMiddleware

telemetry = Telemetry("acme-fastapi", version="1.0.0", delivery="background")


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    with telemetry:
        yield


def identify(user: Annotated[str | None, Cookie()] = None) -> None:
    """Say whose request this is; it holds for this request only."""
    if user:
        telemetry.identify_user(user)


app = FastAPI(lifespan=lifespan, dependencies=[Depends(identify)])
app.add_middleware(ASGIMiddleware, telemetry=telemetry, page_views=True)


@app.get("/timers/{timer_id}", response_class=HTMLResponse)
async def show(timer_id: int) -> str:
    ask = "<p>Whoever runs this: POST wish=on or wish=off to /privacy</p>" if telemetry.should_ask() else ""
    return f"<p>Timer {timer_id}</p>{ask}"


@app.post("/timers", status_code=201, response_class=PlainTextResponse)
async def start(minutes: Annotated[int, Body(embed=True)] = 25) -> str:
    telemetry.track_event("timer.started", {"minutes": minutes})
    return "started"


@app.post("/privacy", response_class=PlainTextResponse)
def decide(wish: Annotated[str, Body(embed=True)]) -> str:
    if wish == "on":
        telemetry.opt_in()
    else:
        telemetry.opt_out()
    return f"analytics are {'on' if telemetry.is_detailed_analytics_enabled() else 'off'}"
