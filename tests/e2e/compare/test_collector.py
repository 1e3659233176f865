"""A real Envoy that shows requests, the collector, and services that answer the copies."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from moreton.envoy.core.copies import COPY_HEADER
from moreton.gateway.core.model import Copies
from moreton.strangler.compare import Differences
from moreton.strangler.compare.core.documents import Place, Task
from moreton.strangler.compare.core.live import Live, SideEffects
from moreton.strangler.compare.serving.collector import Collector
from support.asking import ask
from support.fronted import showing
from support.shown_requests import collecting
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e
SECONDS = 30
LARGE = 3_000_000
LOG = "access_logs.grpc_access_log"
# Envoy may lose a sample.
LOST_SECONDS, ASKED_MAX = 5.0, 6
GETS = Copies(frozenset({"GET"}))


@dataclass
class Shop:
    """A service whose prices are *price*; what it was asked, by path and mark."""

    price: float
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)


@contextlib.contextmanager
def served(shop: Shop) -> Iterator[None]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 64 * 1024  # head and body in one packet

        def do_GET(self) -> None:
            shop.asked.append((self.path, self.headers.get(COPY_HEADER, "")))
            price = shop.price if self.path.startswith("/items") else 0
            body = json.dumps({"price": price, "email": "a@shop.example"}).encode()
            if self.path == "/large":
                body = b"x" * LARGE
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Who hung up wants nothing."""

    with Server(("127.0.0.1", 0), Handler) as server:
        shop.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join(SECONDS)


def task(primary: Shop, candidate: int) -> Task:
    live = Live("all", "shop", "new", side_effects=SideEffects.NONE)
    place: Place = ("127.0.0.1", primary.port)
    return Task(live, [place], [("127.0.0.1", candidate)])


def until(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not is_so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def test_what_differs_is_found_and_kept_without_what_is_nobody_s_business(tmp_path: Path) -> None:
    shop, new = Shop(9.99), Shop(999.5)
    socket, file = tmp_path / "copies.sock", tmp_path / "kept.sqlite"
    collector = Collector(file)
    with served(shop), served(new), collecting(collector, socket):
        collector.follow({"all": task(shop, new.port)})
        with static_envoy(showing(socket, shop.port, GETS).take()[0]) as envoy:
            port = envoy.ports["public/0"]
            for number in range(40):
                asked_until_compared(collector, port, f"/items/{number}")
                asked_until_compared(collector, port, "/same")
            before = compared(collector)
            assert ask(port, "GET", "/items/1", **{COPY_HEADER: "candidate"}).status == 200
            asked = asked_until_compared(collector, port, "/same")
        assert collector.counts()["all"].different >= 10
        assert compared(collector) <= before + asked, "a copy is not copied again"
    assert {mark for _, mark in new.asked} == {"candidate"}
    assert {mark for _, mark in shop.asked} == {"", "primary", "candidate"}
    with Differences(file) as differences:
        (group,) = differences.groups()
        assert group.shape[:2] == ("GET /items/*", "$.price")
        pair = differences.pair(group.pairs[0])
    assert "9.99" in pair.primary
    assert "a@shop.example" not in pair.primary


def asked_until_compared(collector: Collector, port: int, path: str) -> int:
    """How often *path* had to be asked for: Envoy may lose a sample."""
    before = compared(collector)
    for asked in range(1, ASKED_MAX + 1):
        assert ask(port, "GET", path).status == 200
        lost_at = time.monotonic() + LOST_SECONDS
        while time.monotonic() < lost_at:
            if compared(collector) > before:
                return asked
            time.sleep(0.005)
    raise AssertionError(f"of {path}, asked for {ASKED_MAX} times, nothing was compared")


def compared(collector: Collector) -> int:
    counts = collector.counts().get("all")
    return 0 if counts is None else counts.compared


def test_a_candidate_that_is_down_is_told_of_and_no_user_notices(tmp_path: Path) -> None:
    shop = Shop(9.99)
    socket, file = tmp_path / "copies.sock", tmp_path / "kept.sqlite"
    collector = Collector(file)
    with served(shop), collecting(collector, socket):
        collector.follow({"all": task(shop, 1)})
        with static_envoy(showing(socket, shop.port, GETS).take()[0]) as envoy:
            assert ask(envoy.ports["public/0"], "GET", "/items/1").status == 200
            until(lambda: compared(collector) == 1)
    assert collector.counts()["all"].unanswered == 1


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StaticEnvoy, Path, int]]:
    """An Envoy and the process to which it shows requests, which can be stopped."""
    folder = tmp_path_factory.mktemp("frozen")
    socket, shop = folder / "copies.sock", Shop(1)
    command = [sys.executable, "-m", "moreton.cli.main", "compare", "serve"]
    command += ["--listen", f"unix:{socket}", "--file", str(folder / "kept.sqlite")]
    process = subprocess.Popen(
        [*command, "--config", str(folder / "moreton.yaml")], stderr=subprocess.DEVNULL
    )
    try:
        with served(shop), static_envoy(showing(socket, shop.port, GETS).take()[0]) as envoy:
            until(socket.exists)
            yield envoy, socket, process.pid
    finally:
        process.kill()
        process.wait(SECONDS)


def test_a_collector_that_is_frozen_or_dead_holds_up_no_answer(
    frozen: tuple[StaticEnvoy, Path, int],
) -> None:
    envoy, _, pid = frozen
    port = envoy.ports["public/0"]
    assert ask(port, "GET", "/large").status == 200
    until(
        lambda: envoy.stats(r"_copies\.upstream_rq_total").get("cluster._copies.upstream_rq_total")
    )
    os.kill(pid, signal.SIGSTOP)
    for _ in range(5):
        assert len(ask(port, "GET", "/large").body) == LARGE
        assert ask(port, "GET", "/items/1").status == 200
    assert envoy.stats("grpc_access_log").get(f"{LOG}.logs_dropped", 0) > 0, "and that is counted"
    os.kill(pid, signal.SIGKILL)
    for _ in range(5):
        assert ask(port, "GET", "/items/1").status == 200
