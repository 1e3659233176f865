"""Requests that write and then fail, unanswered, in ASGI and in WSGI: what is known of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from moreton.strangler.agent import Agent
from moreton.strangler.agent.servers.asgi import EffectsMiddleware as Asgi
from moreton.strangler.agent.servers.wsgi import ROUTE
from moreton.strangler.agent.servers.wsgi import EffectsMiddleware as Wsgi

FOLDER = Path(sys.argv[1])


def fail() -> None:
    with sqlite3.connect(FOLDER / "visits.db") as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS visits (id INTEGER)")
    raise ZeroDivisionError


async def asgi(*_: Any) -> None:
    fail()


def wsgi(*_: Any) -> Any:
    fail()


def main() -> None:
    agent = Agent(FOLDER / "effects.sqlite")
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/asgi",
        "headers": [],
        "route": SimpleNamespace(path="/asgi"),
    }
    nothing: Any = None
    with contextlib.suppress(ZeroDivisionError):
        asyncio.run(Asgi(asgi, agent)(scope, nothing, nothing))
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/wsgi", ROUTE: "/wsgi"}
    with contextlib.suppress(ZeroDivisionError):
        Wsgi(wsgi, agent)(environ, nothing)
    print(json.dumps({path: agent.ledger.standing(f"GET {path}") for path in ("/asgi", "/wsgi")}))


main()
