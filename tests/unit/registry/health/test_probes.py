from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from moreton.registry.core.checks import CommandProbe, GrpcProbe, HttpProbe, Target, TcpProbe
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.health.command import look_command
from moreton.registry.health.core.keeping import Answer
from moreton.registry.health.grpc import look_grpc
from moreton.registry.health.http import look_http
from moreton.registry.health.looking import knock
from moreton.registry.health.tcp import look_tcp
from support.ports import free_port

PATIENCE_SECONDS = 30.0


def at(port: int, **ports: int) -> Instance:
    return Instance(InstanceId("a"), "shop", "127.0.0.1", port, ports=ports)


@asynccontextmanager
async def serving(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says *answer* to whatever it is sent, and what it was sent."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(asyncio.IncompleteReadError):  # who only knocks asks nothing
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
            requests.append(head + await reader.readexactly(size))
            writer.write(answer)
            await writer.drain()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], requests
    finally:
        server.close()
        await server.wait_closed()


@contextmanager
def half_open() -> Iterator[int]:
    """A port whose queue is full: to the next one that knocks nothing is answered at all."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = []
        for _ in range(8):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            waiting.append(one)
        try:
            yield port
        finally:
            for one in waiting:
                one.close()


async def test_http_probe_passes_when_the_status_is_expected() -> None:
    async with serving(b"HTTP/1.1 204 No Content\r\n\r\n") as (port, requests):
        found = await look_http(at(port), HttpProbe("/health?x=1", headers={"X-Probe": "yes"}))
    assert (found.status, found.output) == ("passing", "status 204")
    (request,) = requests
    assert request.startswith(b"GET /health?x=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nx-probe: yes\r\n" in request


async def test_http_probe_says_what_it_saw_when_the_status_is_not_expected() -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\n\r\nthe database\n is away"
    async with serving(answer) as (port, _):
        found = await look_http(at(port), HttpProbe())
        assert (found.status, found.output) == ("critical", "status 503: the database is away")
        assert (await look_http(at(port), HttpProbe(expect=((503, 503),)))).status == "passing"


async def test_http_probe_warns_when_there_is_too_much_to_do() -> None:
    async with serving(b"HTTP/1.1 429 Too Many Requests\r\n\r\n") as (port, _):
        assert (await look_http(at(port), HttpProbe())).status == "warning"


async def test_http_probe_sends_a_body_to_the_host_that_it_names() -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n\r\n") as (port, requests):
        probe = HttpProbe(method="POST", body='{"a": 1}', headers={"Host": "shop.example"})
        await look_http(at(1, health=port), replace(probe, target=Target(port="health")))
    (request,) = requests
    assert b"host: shop.example\r\n" in request
    assert request.endswith(b'content-length: 8\r\nconnection: close\r\n\r\n{"a": 1}')


@pytest.mark.parametrize("answer", [b"", b"hello\r\n", b"HTTP/1.1\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_http_probe_is_critical_when_the_answer_is_not_http(answer: bytes) -> None:
    async with serving(answer) as (port, _):
        found = await look_http(at(port), HttpProbe())
    assert (found.status, found.output) == ("critical", "the answer is not HTTP")


async def test_http_probe_is_refused_where_nothing_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        await look_http(at(free_port()), HttpProbe())


async def test_probe_of_a_named_port_needs_that_port() -> None:
    with pytest.raises(LookupError, match="it has no port named admin"):
        await look_tcp(at(80), TcpProbe(Target(port="admin")))


async def test_tcp_probe_passes_when_a_connection_is_accepted_and_raises_otherwise() -> None:
    async with serving(b"") as (port, _):
        assert (await look_tcp(at(port), TcpProbe())).status == "passing"
        assert (await look_tcp(at(1), TcpProbe(Target("127.0.0.1", port)))).status == "passing"
    with pytest.raises(ConnectionRefusedError):
        await look_tcp(at(free_port()), TcpProbe())


async def test_tcp_probe_waits_for_a_half_open_port_as_long_as_it_may() -> None:
    with half_open() as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await look_tcp(at(port), TcpProbe())
        assert await knock(at(port)) is Answer.SILENT


async def test_knocking_tells_open_from_refused() -> None:
    async with serving(b"") as (port, _):
        assert await knock(at(port)) is Answer.OPEN
    assert await knock(at(free_port())) is Answer.REFUSED


class HealthService(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """`grpc.health.v1.Health`, with its messages as bytes."""

    def __init__(self, statuses: dict[bytes, bytes]) -> None:
        self._statuses = statuses

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if details.method != "/grpc.health.v1.Health/Check":
            return None
        return grpc.unary_unary_rpc_method_handler(self._check)

    async def _check(self, request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if request not in self._statuses:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return self._statuses[request]


@asynccontextmanager
async def grpc_serving(*handlers: grpc.GenericRpcHandler) -> AsyncIterator[int]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def test_grpc_probe_tells_what_the_health_protocol_says() -> None:
    long = "s" * 200
    statuses = {
        b"": b"\x08\x01",
        b"\x0a\x04cart": b"\x08\x02",
        b"\x0a\xc8\x01" + long.encode(): b"\x08\x01",
        b"\x0a\x05empty": b"",
    }
    async with grpc_serving(HealthService(statuses)) as port:
        found = {
            name: await look_grpc(at(port), GrpcProbe(name))
            for name in ("", "cart", long, "empty", "nobody")
        }
    assert {name: (each.status, each.output) for name, each in found.items()} == {
        "": ("passing", "SERVING"),
        "cart": ("critical", "NOT_SERVING"),
        long: ("passing", "SERVING"),
        "empty": ("critical", "UNKNOWN"),
        "nobody": ("critical", 'it knows no service "nobody"'),
    }


async def test_grpc_probe_is_critical_where_the_protocol_is_not_spoken_or_nobody_is() -> None:
    async with grpc_serving() as port:
        found = await look_grpc(at(port), GrpcProbe())
    assert found.output == "it does not speak the gRPC health protocol"
    found = await look_grpc(at(free_port()), GrpcProbe())
    assert (found.status, found.output.partition(":")[0]) == ("critical", "UNAVAILABLE")


@pytest.mark.parametrize(
    ("code", "status"), [(0, "passing"), (1, "warning"), (2, "critical"), (77, "critical")]
)
async def test_command_probe_tells_by_the_exit_status(code: int, status: str) -> None:
    words = ("sh", "-c", f"echo $MORETON_SERVICE {{address}} {{port}}; exit {code}")
    found = await look_command(at(80), CommandProbe(words))
    assert (found.status, found.output) == (status, f"exit status {code}: shop 127.0.0.1 80")


async def test_command_probe_is_critical_when_it_cannot_be_started_or_is_killed() -> None:
    found = await look_command(at(80), CommandProbe(("/nowhere/at/all",)))
    assert (found.status, "cannot be started" in found.output) == ("critical", True)
    found = await look_command(at(80), CommandProbe(("sh", "-c", "kill -9 $$")))
    assert (found.status, found.output) == ("critical", "killed by signal 9")


async def test_command_probe_says_little_of_a_program_that_says_much() -> None:
    script = "print('x' * 1_000_000)"
    found = await look_command(at(80), CommandProbe((sys.executable, "-c", script)))
    assert found.status == "passing"
    assert len(found.output) < 5_000


async def test_command_probe_kills_the_whole_group_when_its_time_is_over(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}; echo $$ >> {pids}; wait"
    looking = asyncio.create_task(look_command(at(80), CommandProbe(("sh", "-c", script))))
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not pids.exists() or len(pids.read_text().split()) < 2:
            await asyncio.sleep(0.01)
        started = list(map(int, pids.read_text().split()))
        looking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await looking
        while any(map(is_alive, started)):
            await asyncio.sleep(0.01)


async def test_command_probe_ends_what_a_program_left_behind(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"sleep 600 & echo $! > {pids}"
    found = await look_command(at(80), CommandProbe(("sh", "-c", script)))
    assert found.status == "passing"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while is_alive(int(pids.read_text())):
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (ProcessLookupError, FileNotFoundError):
        return False
    return state != "Z"
