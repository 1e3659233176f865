"""Processes tell the control plane in small reports, and are not disturbed when none is there."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import httpx
import pytest
from fastapi import FastAPI

from moreton.controlplane.talkers.api import talker_metrics, talkers_router
from moreton.kernel.places import Finder
from moreton.ratelimit.seeing import Tally, Verdict
from moreton.ratelimit.seeing.core.board import Board
from moreton.ratelimit.seeing.core.report import KEY_CHARS_MAX, RULES_MAX, TALKERS_MAX, to_document
from moreton.ratelimit.seeing.reporter import LimitReporter, report_limits

pytestmark = pytest.mark.slow

SECOND = 1_000_000_000


def app_of(board: Board) -> FastAPI:
    app = FastAPI()
    app.include_router(talkers_router(board, lambda: 60 * SECOND))
    return app


async def ask(board: Board, method: str, path: str, body: object = None) -> httpx.Response:
    transport = httpx.ASGITransport(app_of(board))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        return await client.request(method, path, json=body)


def busy() -> Tally:
    """With as much as a report can hold."""
    tally = Tally()
    for rule in range(RULES_MAX + 2):
        for key in range(TALKERS_MAX + 2):
            name = f"{key}".rjust(KEY_CHARS_MAX + 5, "k")
            tally.note(f"rule {rule}", [name], Verdict.REJECT, "enforce")
    return tally


async def test_the_largest_report_is_taken_and_comes_out_again() -> None:
    board = Board()
    document = to_document(busy().take())
    assert (await ask(board, "POST", "/v1/limits/reports", document)).status_code == 204
    found = (await ask(board, "GET", "/v1/limits/top?limit=3")).json()
    assert (len(found["rules"]), found["sources"]) == (RULES_MAX + 1, 1)
    rule = found["rules"][-1]
    assert rule["decisions"]["enforce"] == {"allow": 0, "delay": 0, "reject": 52, "drop": 0}
    assert len(rule["talkers"]) == 3
    assert len((await ask(board, "GET", "/v1/limits/top?rule=rule 7")).json()["rules"]) == 1
    names = {(name, labels["rule"]) for name, _, labels, _ in talker_metrics(board)}
    assert ("moreton_limit_decisions_total", "rule 7") in names


@pytest.mark.parametrize(
    "change",
    [
        {"rules": [{}]},
        {"source": "s" * (KEY_CHARS_MAX + 1)},
        {"seconds": -1},
        {"rules": [{"rule": "r", "decisions": [], "talkers": [], "floor": -1, "total": 0}]},
        {"more": 1},
    ],
)
async def test_what_is_no_report_is_refused(change: dict[str, object]) -> None:
    board = Board()
    body = {"source": "a/1", "seconds": 2.0, "rules": [], **change}
    assert (await ask(board, "POST", "/v1/limits/reports", body)).status_code == 422
    assert board.standings(0) == []


class Taking(BaseHTTPRequestHandler):
    """Keeps every report, and answers with one status."""

    bodies: ClassVar[list[tuple[str, str, bytes]]]
    status: ClassVar[int]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.bodies.append((self.path, self.headers["authorization"], body))
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def taking(status: int) -> type[Taking]:
    class Fresh(Taking):
        pass

    Fresh.bodies, Fresh.status = [], status
    return Fresh


def served(handler: type[Taking]) -> tuple[ThreadingHTTPServer, str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}"


def test_all_nodes_are_told_and_the_last_report_is_not_lost() -> None:
    first, second = taking(204), taking(204)
    servers = [served(first), served(second)]
    api = ",".join(url for _, url in servers)
    tally = Tally()
    with report_limits(api=api, token="open", every=timedelta(hours=1), tally=tally):
        tally.note("visitors", ["ada"], Verdict.ALLOW, "enforce")
    for server, _ in servers:
        server.shutdown()
        server.server_close()
    assert len(first.bodies) == len(second.bodies) == 1
    path, authorization, body = first.bodies[0]
    assert (path, authorization) == ("/v1/limits/reports", "Bearer open")
    assert b'"ada"' in body


def test_a_worker_that_is_forked_tells_of_itself() -> None:
    """In a process of its own, as a fork of this one would have the threads of other tests."""
    handler = taking(204)
    server, url = served(handler)
    program = """
import os, sys
from datetime import timedelta
from moreton.ratelimit.seeing import TALLY, Verdict
from moreton.ratelimit.seeing.reporter import report_limits

reporting = report_limits(api=sys.argv[1], token="open", every=timedelta(hours=1))
child = os.fork()
TALLY.note("of the parent" if child else "of the child", ["ada"], Verdict.ALLOW, "enforce")
reporting.close()
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) if child else 0)
"""
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)
    server.shutdown()
    server.server_close()
    told = sorted(json.loads(body)["rules"][0]["rule"] for _, _, body in handler.bodies)
    assert told == ["of the child", "of the parent"]


def test_without_a_control_plane_nothing_fails_and_it_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server, url = served(taking(401))
    tally = Tally()
    reporter = LimitReporter(Finder(api=url, token="no"), tally, timedelta(hours=1))
    with caplog.at_level(logging.WARNING, "moreton.ratelimit"):
        for _ in range(3):
            tally.note("visitors", ["ada"], Verdict.ALLOW, "enforce")
            assert not reporter.report()
        server.shutdown()
        server.server_close()
        tally.note("visitors", ["ada"], Verdict.ALLOW, "enforce")
        assert not reporter.report()
        assert reporter.report()  # there is nothing to tell
    assert [record.message for record in caplog.records] == [
        f"the control plane is not told of rate limits meanwhile: {url} answers 401"
    ]


def test_misuse_is_told() -> None:
    with pytest.raises(ValueError, match="every is 0 s"):
        report_limits(every=timedelta(0))
