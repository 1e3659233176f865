"""A rulebook around real applications: what answers say counts, and who is banned is told so."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Response
from flask import Flask

from moreton.ratelimit.core.rules.seen import Caller
from moreton.ratelimit.rulebook import Rulebook, follow_file
from moreton.ratelimit.servers import asgi, wsgi
from moreton.ratelimit.servers.fastapi import Limited
from moreton.ratelimit.servers.flask import RateLimits
from moreton.ratelimit.servers.guard import Guard
from support.ports import free_port

RULES = """
limits:
  units: {at: service, limit: 10/h, cost: {answer_header: x-units, max: 6}}
  gone: {at: service, match: {paths: /gone}, limit: 0}
clients: {bans: ["header:user-agent=BadBot"]}
"""
Ask = Callable[[str, dict[str, str]], Awaitable[int]]


@pytest.fixture
def book(tmp_path: Path) -> Rulebook:
    (tmp_path / "moreton.yaml").write_text(RULES)
    return follow_file(tmp_path / "moreton.yaml")


def fast_app() -> FastAPI:
    app = FastAPI()

    @app.get("/{path}")
    async def say(path: str, response: Response) -> str:
        response.headers["x-units"] = "4"
        return path

    return app


def wsgi_app(_: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    start("200 OK", [("X-Units", "4"), ("content-length", "2")])
    return [b"ok"]


def asking(client: httpx.AsyncClient) -> Ask:
    async def ask(path: str, headers: dict[str, str]) -> int:
        return (await client.get(f"http://shop{path}", headers=headers)).status_code

    return ask


def on_asgi(book: Rulebook) -> Ask:
    app = asgi.RateLimitMiddleware(fast_app(), book)
    return asking(httpx.AsyncClient(transport=httpx.ASGITransport(app)))


def on_fastapi(book: Rulebook) -> Ask:
    app = FastAPI(dependencies=[Depends(Limited(book))])
    app.include_router(fast_app().router)
    return asking(httpx.AsyncClient(transport=httpx.ASGITransport(app)))


def on_wsgi(book: Rulebook) -> Ask:
    transport = httpx.WSGITransport(wsgi.RateLimitMiddleware(wsgi_app, book))

    async def ask(path: str, headers: dict[str, str]) -> int:
        with httpx.Client(transport=transport) as client:
            return client.get(  # noqa: ASYNC212 - nobody else is on the loop
                f"http://shop{path}", headers=headers
            ).status_code

    return ask


def on_flask(book: Rulebook) -> Ask:
    app = Flask("shop")
    limits = RateLimits()

    @app.get("/<path>")
    @limits.limit(book)
    def say(path: str) -> tuple[str, dict[str, str]]:
        return path, {"x-units": "4"}

    async def ask(path: str, headers: dict[str, str]) -> int:
        return app.test_client().get(path, headers=headers).status_code

    return ask


@pytest.mark.parametrize("serve", [on_asgi, on_fastapi, on_wsgi, on_flask])
async def test_answers_are_charged_and_bans_are_told(
    serve: Callable[[Rulebook], Ask], book: Rulebook
) -> None:
    ask = serve(book)
    assert await ask("/a", {"user-agent": "BadBot"}) == 403
    assert await ask("/gone", {}) == 403
    # Four each: after the third twelve of ten are used.
    assert [await ask("/a", {}) for _ in range(5)] == [200, 200, 200, 429, 429]


SHARED = """
limits:
  all: {{at: service, limit: 10/h, scope: {scope}, on_outage: {outage}}}
counters: {{redis: "redis://127.0.0.1:{port}/0", budget: 50ms, file: {file}}}
"""


def passes(folder: Path, scope: str, outage: str = "open") -> int:
    text = SHARED.format(scope=scope, outage=outage, port=free_port(), file=folder / "counts")
    (folder / "moreton.yaml").write_text(text)
    guard = Guard([follow_file(folder / "moreton.yaml")])
    caller = Caller("GET", "/", {}, "192.0.2.7")
    return sum(guard.enter(caller).refusal is None for _ in range(20))


@pytest.mark.parametrize("scope", ["exact", "quota"])
def test_without_its_store_a_rule_does_what_it_says(tmp_path: Path, scope: str) -> None:
    assert passes(tmp_path, scope, "open") == 20
    assert passes(tmp_path, scope, "closed") == 0
    assert passes(tmp_path, scope, "{share: 50%}") == 5


def test_processes_of_a_machine_count_together(tmp_path: Path) -> None:
    assert passes(tmp_path, "machine") == 10
    assert passes(tmp_path, "machine") == 0  # as another worker would
    assert passes(tmp_path, "local") == 10
