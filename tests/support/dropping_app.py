"""Applications that drop the second request of a day, as ASGI and as WSGI servers load them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from moreton.ratelimit import Gcra, LocalLimiter
from moreton.ratelimit.rules import Excess, Rule, everyone
from moreton.ratelimit.servers import asgi, wsgi
from moreton.ratelimit.servers.fastapi import Limited


def once() -> Rule:
    return Rule(LocalLimiter(Gcra("1/d")), everyone, excess=Excess.DROP)


def _home(_: Any) -> PlainTextResponse:
    return PlainTextResponse("home")


def asgi_app() -> Starlette:
    """Within Starlette's own middlewares, which wrap what the server hands over."""
    return Starlette(
        routes=[Route("/", _home, methods=["GET", "POST"])],
        middleware=[Middleware(asgi.RateLimitMiddleware, once())],
    )


def dependency_app() -> FastAPI:
    """With the limit on one route."""
    app = FastAPI()
    limited = Depends(Limited(once()))

    @app.get("/", dependencies=[limited])
    @app.post("/", dependencies=[limited])
    async def home() -> PlainTextResponse:
        return PlainTextResponse("home")

    return app


def _wsgi(_: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("content-length", "4")])
    return [b"home"]


def wsgi_app() -> wsgi.RateLimitMiddleware:
    return wsgi.RateLimitMiddleware(_wsgi, once())


application = wsgi_app()
asgi_application = asgi_app()
