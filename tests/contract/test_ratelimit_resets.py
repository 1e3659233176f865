"""A reset that a service is told of while its Redis is away is done when that is back."""

from __future__ import annotations

import http.server
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moreton.kernel.places import Finder
from moreton.ratelimit.core.rules.seen import Caller
from moreton.ratelimit.core.rules.values import Limits
from moreton.ratelimit.rulebook import Rulebook
from moreton.ratelimit.rulebook.asking import RulesAsker
from moreton.ratelimit.rulebook.documents import Reset, rules_document
from moreton.ratelimit.servers.guard import Guard
from support.redis_server import RedisServer


class Plane(http.server.BaseHTTPRequestHandler):
    """Tells the rules, as a control plane does."""

    document: dict[str, object]

    def do_GET(self) -> None:
        body = json.dumps(self.document).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.send_header("etag", str(hash(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def plane() -> Iterator[tuple[str, type[Plane]]]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Plane) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", Plane
        server.shutdown()


def test_a_reset_is_done_when_the_store_is_back(
    plane: tuple[str, type[Plane]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "moreton.ratelimit")
    url, told = plane
    redis = RedisServer(tmp_path)
    sections = {
        "limits": {"login": {"at": "service", "scope": "exact", "limit": "1/d", "by": "address"}},
        "counters": {"redis": redis.url, "budget": "20s"},
    }
    told.document = rules_document(sections, [], [])
    book = Rulebook(Limits())
    guard = Guard([book])
    asker = RulesAsker(Finder(api=url, token="t"), book, 60)
    caller = Caller("GET", "/", {}, "192.0.2.7")
    redis.start()
    try:
        assert asker.ask()
        assert [guard.enter(caller).refusal is None for _ in range(2)] == [True, False]
        redis.kill()
        told.document = rules_document(sections, [], [Reset("1", "login", "192.0.2.7")])
        assert not asker.ask()
        assert "a reset is yet to be done" in caplog.text
        redis.start()
        until = time.monotonic() + 30
        while guard.enter(caller).refusal is None:  # until it is asked again, and knows one
            assert time.monotonic() < until
        assert asker.ask()
        assert guard.enter(caller).refusal is None
        assert asker.ask()  # once
        assert guard.enter(caller).refusal is not None
    finally:
        redis.kill()
