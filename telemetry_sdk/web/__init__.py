"""For web servers: events made during a request carry its route, browser and device, and its user and no other's.

See `middleware` for what the middlewares do and promise.
"""

from __future__ import annotations

from telemetry_sdk.web.middleware import ROUTE_KEY, ASGIMiddleware, RequestContext, WSGIMiddleware

__all__ = ["ROUTE_KEY", "ASGIMiddleware", "RequestContext", "WSGIMiddleware"]
