"""What a real Envoy does with compiled weights, timeouts, upgrades, certificates and telemetry."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from moreton.config.words import read_path
from moreton.envoy.admin import AdminClient
from moreton.gateway.compile import GatewayCompiler, Tracing
from moreton.gateway.core.model import (
    Address,
    Destination,
    Endpoint,
    Gateway,
    Listener,
    Retries,
    Route,
    RouteMatch,
    Service,
    TlsFiles,
)
from moreton.gateway.core.moves import Move
from support.asking import ask
from support.certificates import make_certificate
from support.echo import Echo, echo_server
from support.static_envoy import StaticEnvoy, static_envoy

pytestmark = pytest.mark.e2e

SECONDS_MAX = 20


def route(name: str, path: str, *to: Destination, **rest: Any) -> Route:
    return Route(name, RouteMatch(read_path(path)), to=to, **rest)


def split(one: int, two: int) -> tuple[Destination, Destination]:
    return Destination("one", one), Destination("two", two)


@contextlib.contextmanager
def websocket_server() -> Iterator[int]:
    """Echoes messages; its port."""

    def talk(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            for message in connection:
                connection.send(message)

    with serve(talk, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.socket.getsockname()[1])
        finally:
            server.shutdown()
            thread.join(SECONDS_MAX)


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that refuses connections for as long as this lasts: bound, not listening."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


@dataclass
class World:
    envoy: StaticEnvoy
    collector: Echo
    log: Path
    files: TlsFiles
    dead: int  # where nobody listens

    @property
    def port(self) -> int:
        return self.envoy.ports["public/0"]

    def shares(self, path: str, count: int = 400) -> Counter[str]:
        return Counter(ask(self.port, "GET", path).headers["x-server"] for _ in range(count))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    files = make_certificate(folder)
    log = folder / "access.log"
    with contextlib.ExitStack() as stack:
        one = stack.enter_context(echo_server("one"))
        two = stack.enter_context(echo_server("two"))
        collector = stack.enter_context(echo_server("collector"))
        chat = stack.enter_context(websocket_server())
        dead = stack.enter_context(refusing_port())
        compiler = GatewayCompiler(Tracing(f"http://127.0.0.1:{collector.port}"))
        place = Address("127.0.0.1", 0)
        compiler.put_gateway(
            Gateway("public", (Listener(place), Listener(place, files)), access_log=str(log))
        )
        compiler.put_gateway(Gateway("small", (Listener(place),), max_connections=1))
        for name, port in {"one": one.port, "two": two.port, "chat": chat}.items():
            compiler.put_service(Service(name, addresses=(Address("127.0.0.1", port),)))
        ports = {"half-dead": (dead, one.port), "half-dead-too": (dead, one.port), "dead": (dead,)}
        for name, members in ports.items():
            compiler.put_service(Service(name))
            places = [Endpoint(Address("127.0.0.1", port)) for port in members]
            compiler.put_endpoints(name, places)
        compiler.put_service(Service("draining"))
        compiler.put_endpoints(
            "draining",
            [
                Endpoint(Address("127.0.0.1", one.port)),
                Endpoint(Address("127.0.0.1", two.port), healthy=False),
            ],
        )
        _put_routes(compiler)
        changed, _ = compiler.take()
        envoy = stack.enter_context(static_envoy(changed, {files.certificate: files.key}))
        yield World(envoy, collector, log, files, dead)


def _put_routes(compiler: GatewayCompiler) -> None:
    compiler.put_route(route("told", "/told", *split(90, 10)))
    compiler.put_route(route("turned", "/turned", *split(1, 0)))
    compiler.put_weights("turned", {"one": 0, "two": 7})
    compiler.put_route(route("odd", "/odd", *split(1, 0)))
    compiler.put_weights("odd", {"one": 2, "two": 1})
    compiler.put_route(route("large", "/large", *split(1, 0)))
    compiler.put_weights("large", {"one": 1_000_000, "two": 1_000_000})
    # Names with dots: `a.b` to `c` and `a` to `b.c` must not share a runtime key.
    compiler.put_service(Service("b.one"))
    compiler.put_route(route("a.b", "/dots/1", *split(0, 1)))
    compiler.put_route(route("a", "/dots/2", Destination("b.one", 1), Destination("two", 0)))
    moved = Move("chat", sticky=None, answer_within=timedelta(milliseconds=900))
    to = Destination("chat", 1), Destination("two", 0)
    compiler.put_route(route("chat", "/chat/*", *to, timeout=timedelta(seconds=1), move=moved))
    compiler.put_route(route("no-chat", "/no-chat/*", Destination("chat"), websocket=False))
    compiler.put_route(route("half-dead", "/half-dead", Destination("half-dead")))
    compiler.put_route(route("draining", "/draining", Destination("draining")))
    never = Retries(0, ())
    compiler.put_route(
        route("no-retries", "/no-retries", Destination("half-dead-too"), retries=never)
    )
    compiler.put_route(route("dead", "/dead", Destination("dead"), retries=never))


def test_shares_are_as_written_when_no_runtime_value_differs(world: World) -> None:
    assert 5 < world.shares("/told")["two"] < 95


def test_runtime_values_win_over_the_table_when_they_differ(world: World) -> None:
    assert world.shares("/turned", 100) == {"two": 100}
    odd = world.shares("/odd")
    assert 190 < odd["one"] < 340, odd
    large = world.shares("/large")
    assert 130 < large["one"] < 270, large


def test_names_with_dots_do_not_share_weights(world: World) -> None:
    assert world.shares("/dots/1", 50) == {"two": 50}
    assert ask(world.port, "GET", "/dots/2").status == 503  # its service has no endpoint


def test_connection_that_is_refused_is_tried_elsewhere(world: World) -> None:
    assert world.shares("/half-dead", 60) == {"one": 60}


def test_endpoint_that_refuses_rests_after_a_few_failures(world: World) -> None:
    statuses = Counter(ask(world.port, "GET", "/no-retries").status for _ in range(100))
    assert 1 <= statuses[503] <= 10, statuses
    assert world.envoy.stats("half-dead-too.outlier.*active") == {
        "cluster.half-dead-too.outlier_detection.ejections_active": 1
    }
    admin = AdminClient(world.envoy.admin)
    assert asyncio.run(admin.ejected()) == {f"127.0.0.1:{world.dead}"}


def test_envoy_tells_of_the_clusters_that_it_is_asked_for(world: World) -> None:
    def told(names: list[str]) -> list[str]:
        document = asyncio.run(AdminClient(world.envoy.admin).clusters(names))
        return sorted(each["name"] for each in document.get("cluster_statuses", ()))

    assert told(["one", "half-dead"]) == ["half-dead", "one"]
    assert told(["nobody", "o.e"]) == []
    # More names than Envoy takes at once.
    assert "half-dead-too" in told([f"s{number}" for number in range(3000)])


def test_only_endpoint_of_a_service_never_rests(world: World) -> None:
    statuses = Counter(ask(world.port, "GET", "/dead").status for _ in range(30))
    assert statuses == {503: 30}
    assert not any(world.envoy.stats("cluster.dead.outlier.*active").values())


def test_draining_endpoint_gets_nothing(world: World) -> None:
    assert world.shares("/draining", 60) == {"one": 60}


def test_websocket_outlives_the_timeout_of_its_route(world: World) -> None:
    with connect(f"ws://127.0.0.1:{world.port}/chat/a", close_timeout=1) as chat:
        chat.send("one")
        assert chat.recv(SECONDS_MAX) == "one"
        # Nothing comes for longer than the route's timeout of a second, and it still works.
        with pytest.raises(TimeoutError):
            chat.recv(1.5)
        chat.send("two")
        assert chat.recv(SECONDS_MAX) == "two"


def test_websocket_is_refused_when_the_route_says_so(world: World) -> None:
    with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{world.port}/no-chat/a"):
        pass
    assert refused.value.response.status_code == 403


def test_tls_listener_offers_http2_and_http1(world: World) -> None:
    port = world.envoy.ports["public/1"]
    for offered, chosen in ((["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")):
        context = ssl.create_default_context(cafile=world.files.certificate)
        context.set_alpn_protocols(offered)
        with (
            socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as plain,
            context.wrap_socket(plain, server_hostname="gateway.test") as secure,
        ):
            assert secure.selected_alpn_protocol() == chosen
            assert secure.version() in {"TLSv1.2", "TLSv1.3"}


def test_old_tls_is_refused(world: World) -> None:
    context = ssl.create_default_context(cafile=world.files.certificate)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    _handshake(world, context)  # the newest that is not 1.3 works
    old = ssl.create_default_context(cafile=world.files.certificate)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        _handshake(world, old)


def _handshake(world: World, context: ssl.SSLContext) -> None:
    port = world.envoy.ports["public/1"]
    with (
        socket.create_connection(("127.0.0.1", port), SECONDS_MAX) as plain,
        context.wrap_socket(plain, server_hostname="gateway.test"),
    ):
        pass


def test_connections_beyond_the_gateways_limit_are_closed(world: World) -> None:
    place = ("127.0.0.1", world.envoy.ports["small/0"])
    with socket.create_connection(place, SECONDS_MAX) as first:
        first.sendall(b"GET /told HTTP/1.1\r\nhost: a\r\n\r\n")
        assert first.recv(12) == b"HTTP/1.1 200"
        with (
            socket.create_connection(place, SECONDS_MAX) as second,
            contextlib.suppress(ConnectionError),
        ):
            second.sendall(b"GET /told HTTP/1.1\r\nhost: a\r\n\r\n")
            assert second.recv(1) == b""


def test_access_log_is_one_json_object_a_request(world: World) -> None:
    answer = ask(world.port, "GET", "/told?marker=log")
    line = _eventually(lambda: [one for one in _lines(world.log) if "marker=log" in one["path"]])
    assert line["gateway"] == "public"
    assert (line["route"], line["status"], line["method"]) == ("told", 200, "GET")
    assert line["service"] in {"one", "two"}
    assert line["request_id"] == answer.headers["x-request-id"]


def test_spans_go_to_the_collector_in_the_callers_trace(world: World) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    parent = f"00-{trace}-b7ad6b7169203331-01"
    seen = ask(world.port, "GET", "/told", traceparent=parent).said["headers"]
    assert seen["traceparent"].startswith(f"00-{trace}-")
    assert seen["traceparent"] != parent
    exported = _eventually(lambda: [one["target"] for one in world.collector.asked])
    assert exported == "/v1/traces"


def _lines(log: Path) -> list[Any]:
    text = log.read_text() if log.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def _eventually(find: Any) -> Any:
    """The first of what *find* finds; Envoy writes its log and its spans when it likes."""
    waiting = threading.Event()
    for _ in range(SECONDS_MAX * 20):
        if found := find():
            return found[0]
        waiting.wait(0.05)
    raise AssertionError("nothing came")
