"""Several registrations of one process: one thread, one connection, one request."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from e2e.registry.world import TOKEN, Programs, RegistryServer
from moreton.registry import Registration, register
from moreton.registry.core.heartbeat import Phase
from support.waits import join_all, wait_until

pytestmark = pytest.mark.e2e

PATIENCE = timedelta(seconds=20)
SERVICES = ("catalogue", "cart", "orders")


def registered(url: str, *, ttl: str = "1s") -> list[Registration]:
    return [
        register(service, port=8001 + number, ttl=ttl, api=url, token=TOKEN, leave_on_sigterm=False)
        for number, service in enumerate(SERVICES)
    ]


def names() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "moreton-registry"]


def test_registrations_of_one_process_are_renewed_by_one_request(server: RegistryServer) -> None:
    mine = registered(server.url)
    assert all(each.wait_registered(PATIENCE) for each in mine)
    server.wait_requests("POST /v1/leases/renew", 3)
    assert len(names()) == 1
    wait_until(lambda: all(each.phase is Phase.REGISTERED for each in mine), "all to be kept")
    for each in mine:
        each.close()
    assert [server.instances(service) for service in SERVICES] == [[], [], []]
    wait_until(lambda: not names(), "the thread to end with the last registration")


def test_each_of_several_registers_again_by_itself_when_only_its_lease_is_lost(
    server: RegistryServer,
) -> None:
    mine = registered(server.url, ttl="5s")
    assert all(each.wait_registered(PATIENCE) for each in mine)
    # A request that a busy machine answers late is repeated: counted is what comes after this.
    before = len(server.requests)
    server.forget(mine[0].id)
    server.wait_instances(1)
    since = [each for each in server.requests[before:] if each.endswith("/instances")]
    assert set(since) == {"POST /v1/services/catalogue/instances"}
    for each in mine:
        each.close()


def test_registration_that_comes_later_and_one_that_leaves_harm_no_other(
    server: RegistryServer,
) -> None:
    first, *others = registered(server.url)
    assert all(each.wait_registered(PATIENCE) for each in (first, *others))
    first.close()
    assert server.instances("catalogue") == []
    again = register("catalogue", port=8009, ttl="1s", api=server.url, token=TOKEN)
    assert again.wait_registered(PATIENCE)
    before = server.requests.count("POST /v1/leases/renew")
    server.wait_requests("POST /v1/leases/renew", before + 2)
    assert len(names()) == 1
    server.wait_instances(1, "cart")
    for each in (again, *others):
        each.close()


def test_all_come_back_after_an_outage(server: RegistryServer) -> None:
    mine = registered(server.url)
    assert all(each.wait_registered(PATIENCE) for each in mine)
    server.stop()
    wait_until(lambda: all(each.trouble for each in mine), "everybody to notice")
    server.start()
    for service in SERVICES:
        server.wait_instances(1, service)
    for each in mine:
        each.close()


def test_process_that_was_forked_keeps_its_own_registrations(
    programs: Programs, server: RegistryServer
) -> None:
    program = programs.start(
        sys.executable,
        programs.script(
            """
            import os, pathlib, time, moreton.registry
            mine = moreton.registry.register("catalogue", port=8001, ttl="60s")
            assert mine.wait_registered(__import__("datetime").timedelta(seconds=20))
            child = os.fork()
            if child == 0:
                with moreton.registry.register("cart", port=8002, ttl="60s") as own:
                    while not pathlib.Path("enough").exists():
                        time.sleep(0.01)
                print("child", own.phase, flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            print("parent", mine.phase, flush=True)
            """
        ),
    )
    server.wait_instances(1, "cart")
    assert len(server.instances("catalogue")) == 1
    (programs.folder / "enough").touch()
    assert program.wait() == 0
    assert "child left" in program.said()
    assert "parent registered" in program.said()
    assert server.instances("cart") == server.instances("catalogue") == []


class Older(BaseHTTPRequestHandler):
    """A control plane from before renewals for many: it knows no such path."""

    requests: list[str]

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        self.requests.append(f"{self.command} {self.path}")
        status = 404 if self.path == "/v1/leases/renew" else 200
        document: dict[str, Any] = {"ttl": "1s"} if status == 200 else {"detail": "not found"}
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the base class's names

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def older() -> Iterator[tuple[str, list[str]]]:
    requests: list[str] = []
    handler = type("Handler", (Older,), {"requests": requests, "protocol_version": "HTTP/1.1"})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        served.daemon_threads = True
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}", requests
        served.shutdown()
        join_all([thread])


def test_older_control_plane_is_asked_for_each_by_itself(
    older: tuple[str, list[str]],
) -> None:
    url, requests = older
    mine = registered(url)
    assert all(each.wait_registered(PATIENCE) for each in mine)
    wait_until(lambda: sum("PUT" in each for each in requests) >= 6, "two renewals of each")
    assert all(each.phase is Phase.REGISTERED for each in mine)
    assert any(each == "POST /v1/leases/renew" for each in requests)
    assert sum("POST /v1/services" in each for each in requests) == 3
    for each in mine:
        each.close()
