"""Asks the routes of the shop through a real Envoy: which requests wrote, and which were copied.

Whether a request wrote is known twice: by the agent in the shop, and by the database itself, whose
`data_version` another connection sees change with every commit.
"""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from moreton.envoy.core.copies import COPY_HEADER, EFFECTS_HEADER, Shown
from moreton.gateway.core.model import Copies
from moreton.strangler.agent import Told, read_told
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.documents import Task
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.strangler.compare.serving.collector import Collector
from support.fronted import showing
from support.ports import free_port
from support.shown_requests import listening
from support.static_envoy import static_envoy
from support.waits import ANSWER_SECONDS, SECONDS, line_of

METHODS = frozenset({"GET", "POST"})
_ID = "x-test-id"
# Envoy may lose a sample, and says nothing of it to whom it was for.
_LOST_SECONDS = 10.0
_TOKEN = "f" * 32  # of Django, against requests from elsewhere
# Pages of a third of a second, for `ask_all` in short.
_LONG = re.compile(
    "catalogue/$|search/|.*category|.*reviews|checkout/p|offers|dashboard/(?!part|pag)"
)
_WRITING = re.compile("delete|remove|add/|link|cancel|confirm|action")
NOWHERE = "no route"
_NOWHERE: dict[str, Any] = {"route": NOWHERE, "path": "/no/such/place/", "form": {}}
SEEDED = "seeded/<int:number>/"
_SEEDED: dict[str, Any] = {"route": SEEDED, "path": "/seeded/5/", "form": {}}
_PROGRAM = Path(__file__).parent / "oscar_watched.py"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: *told* by the agent, *wrote* says the database, *leaked* is what a user saw."""

    method: str
    route: str
    status: int
    told: Told
    was_shown: bool
    wrote: bool
    copies_wrote: bool
    copied: bool
    leaked: str

    @property
    def endpoint(self) -> str:
        """As the agent names it."""
        return f"{self.method} /{self.route}"


@dataclass
class Twin:
    """A candidate that remembers what it was sent, by id, and answers as the shop did."""

    shown: dict[str, Shown] = field(default_factory=dict)
    got: list[str] = field(default_factory=list)
    port: int = 0


@contextlib.contextmanager
def twin() -> Iterator[Twin]:
    """It answers the same to the byte, so that nothing has to be compared."""
    made = Twin()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            assert self.headers[COPY_HEADER] == "candidate"
            name = self.headers.get(_ID, "")
            made.got.append(name)
            shown = made.shown[name]
            self.send_response_only(shown.status)
            for field_name, value in shown.answer_headers:
                if field_name not in {"transfer-encoding", "content-length"}:
                    self.send_header(field_name, value)
            self.send_header("content-length", str(len(shown.answer_body)))
            self.end_headers()
            self.wfile.write(shown.answer_body)

        do_GET = do_POST = answer  # noqa: N815 - as http.server names them

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        made.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join(SECONDS)


class Watched:
    """What the collector is shown, by id; and when it is done with it."""

    def __init__(self, collector: Collector, shown: dict[str, Shown]) -> None:
        self.shown = shown
        self._collector = collector

    def take(self, shown: Shown) -> None:
        """As a server of shown requests calls it."""
        self.shown[shown.header(_ID)] = shown
        self._collector.offer(shown)

    def wait(self, name: str) -> None:
        """Until the request *name* was judged or passed over, or is taken to be lost."""
        lost_at = time.monotonic() + _LOST_SECONDS
        while name not in self.shown and time.monotonic() < lost_at:
            time.sleep(0.002)
        until = time.monotonic() + ANSWER_SECONDS
        while True:
            counts = self._collector.counts().get("all", Counts())
            if counts.compared + counts.skipped + counts.dropped >= len(self.shown):
                return
            assert time.monotonic() < until, f"{len(self.shown)} requests, and {counts}"
            time.sleep(0.002)


@contextlib.contextmanager
def shop(state: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The shop of *state*, with the agent in it: its port, and what can be asked."""
    port = free_port()
    with (state.parent / "watched.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(_PROGRAM), str(port)],
            env={**os.environ, "SHOP_STATE": str(state)},
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        line = line_of(process.stdout, "what can be asked", ANSWER_SECONDS)
        assert line, Path(log.name).read_text()
        yield port, json.loads(line)
    finally:
        process.terminate()
        process.wait(SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def in_short(method: str, route: str) -> bool:
    """Whether it is asked where time is short: most of the storefront, and what should write."""
    if _LONG.match(route):
        return False
    plain_get = method == "GET" and not route.startswith("dashboard/")
    return plain_get or _WRITING.search(route) is not None


def ask_all(state: Path, *, ask_twice: float = 0, rounds: int = 1, whole: bool) -> Sequence[Asked]:
    """The routes, all or those `in_short`, by GET in so many *rounds*, and then by POST."""
    socket = state.parent / "copies.sock"
    collector = Collector(state.parent / "kept.sqlite")
    with twin() as candidate, shop(state) as (port, known), contextlib.closing(collector):
        live = Live("all", "shop", "new", side_effects=SideEffects.RECORDED, methods=METHODS,
                    ask_twice=ask_twice)  # fmt: skip
        places = [("127.0.0.1", port)], [("127.0.0.1", candidate.port)]
        collector.follow({"all": Task(live, *places)})
        watched = Watched(collector, candidate.shown)
        front = showing(socket, port, Copies(METHODS, asks=True))
        with (
            listening(watched.take, collector.lose, socket),
            static_envoy(front.take()[0]) as envoy,
        ):
            asking = _Asking(envoy.ports["public/0"], known, state, watched, candidate)
            with contextlib.closing(asking):
                asking.wait_ready()
                found = [
                    asking.ask(method, one)
                    for method in ["GET"] * rounds + ["POST"]
                    for one in known["routes"]
                    if whole or in_short(method, one["route"])
                ]
                found += [asking.ask("GET", _SEEDED) for _ in range(4)]
                return found + [asking.ask("GET", _NOWHERE) for _ in range(3)]


class _Asking:
    def __init__(
        self, port: int, known: dict[str, Any], state: Path, watched: Watched, candidate: Twin
    ) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
        self._database = sqlite3.connect(f"file:{state}/shop.sqlite?mode=ro", uri=True)
        self._known, self._watched, self._candidate = known, watched, candidate
        self._count = 0

    def close(self) -> None:
        self._connection.close()
        self._database.close()

    def wait_ready(self) -> None:
        """Until the shop answers; what its first requests do is counted as well."""
        until = time.monotonic() + ANSWER_SECONDS
        while self.ask("GET", _NOWHERE).status >= 500:
            assert time.monotonic() < until, "the shop never answered"
            time.sleep(0.05)

    def ask(self, method: str, one: dict[str, Any]) -> Asked:
        """One request, once its copies have come to an end."""
        self._count += 1
        name = str(self._count)
        before = self._version()
        answer = self._send(method, one, name)
        after = self._version()
        self._watched.wait(name)
        shown = self._watched.shown.get(name)
        told = dict(shown.answer_headers).get(EFFECTS_HEADER) if shown is not None else None
        return Asked(
            method,
            one["route"],
            answer.status,
            read_told(told),
            was_shown=shown is not None,
            wrote=before != after,
            copies_wrote=self._version() != after,
            copied=name in self._candidate.got,
            leaked=answer.getheader(EFFECTS_HEADER, ""),
        )

    def _send(self, method: str, one: dict[str, Any], name: str) -> http.client.HTTPResponse:
        whose = "staff" if one["route"].startswith("dashboard/") else "customer"
        session = self._known["sessions"][method][whose]
        headers = {
            _ID: name,
            "cookie": f"csrftoken={_TOKEN}; sessionid={session}",
            "x-csrftoken": _TOKEN,
            "content-type": "application/x-www-form-urlencoded",
        }
        body = urlencode(one["form"]) if method == "POST" else None
        self._connection.request(method, one["path"], body, headers)
        answer = self._connection.getresponse()
        answer.read()
        return answer

    def _version(self) -> int:
        return int(self._database.execute("PRAGMA data_version").fetchone()[0])
