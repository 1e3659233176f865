"""What moreton.yaml names by its address is drained as what registered itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from e2e.up.world import World
from support.waits import wait_until

pytestmark = pytest.mark.e2e


class Held(ThreadingHTTPServer):
    """Answers what it is asked once it may."""

    daemon_threads = True

    def __init__(self) -> None:
        held = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                held.came.set()
                held.may_answer.wait(30)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.came, self.may_answer = threading.Event(), threading.Event()

    @property
    def port(self) -> int:
        """Where it answers."""
        return int(self.server_address[1])


@contextlib.contextmanager
def held() -> Iterator[Held]:
    with Held() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.may_answer.set()
            server.shutdown()
            thread.join()


def test_drain_of_an_address_waits_for_the_requests_that_it_has(world: World) -> None:
    with held() as one, held() as other, ThreadPoolExecutor(8) as pool:
        addresses = [f"127.0.0.1:{each.port}" for each in (one, other)]
        routes = {"everything": {"path": "/*", "to": "a"}}
        world.write(world.configuration(services={"a": {"addresses": addresses}}, routes=routes))
        world.start()
        asked = [pool.submit(world.ask) for _ in range(8)]
        wait_until(one.came.is_set, "a request is under way")
        drain = f"/v1/services/a/instances/yaml-127.0.0.1-{one.port}/drain"
        world.api.call("POST", drain, {"by": "me"})
        found = wait_until(lambda: _known(world.api.get(drain)), "what it has is known")
        assert found["requests"] > 0
        assert not found["idle"]
        one.may_answer.set()
        wait_until(lambda: world.api.get(drain)["idle"], "it has nothing more")
        other.may_answer.set()
        assert [each.result()[0] for each in asked] == [204] * 8


def _known(found: Any) -> Any:
    return found if found["idle"] or found["requests"] is not None else None
