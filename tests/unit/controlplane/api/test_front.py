"""What is answered before the application, held to what the application answers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from moreton.controlplane.api.app import STATUSES
from moreton.controlplane.api.auth import BearerAuth
from moreton.controlplane.api.changes import Weights
from moreton.controlplane.api.serving import front
from moreton.controlplane.api.serving.plain import PlainDesk, Renew
from moreton.controlplane.api.serving.server import serving
from moreton.controlplane.api_instances import instances_router
from moreton.controlplane.errors import UnknownObject
from moreton.controlplane.problems import error_response, install_problems
from moreton.registry import Instance, InstanceId, Registry
from moreton.store.errors import StoreFailing
from moreton.store.memory import open_memory_store

pytestmark = pytest.mark.slow

TOKEN = "a-token"
PATIENCE_SECONDS = 20
PLACE = "/v1/services/catalogue/instances"
RENEWAL = f"PUT {PLACE}/a-1/lease HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
LIST = f"GET {PLACE} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
BODY = '{"id": "a-1", "address": "10.0.0.1", "port": 80}'
REGISTRATION = (
    f"POST {PLACE} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
    f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n{BODY}"
)


def move(body: str, route: str = "shop", media: str = "application/json") -> str:
    return (
        f"PUT /v1/routes/{route}/weights HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n"
        f"content-type: {media}\r\ncontent-length: {len(body)}\r\n\r\n{body}"
    )


MOVE = move('{"old": 90, "new": 10}')


class Counted:
    """The application, and how often it was asked."""

    def __init__(self, registry: Registry) -> None:
        app = FastAPI()
        install_problems(app, statuses=STATUSES)
        app.include_router(instances_router(registry))

        @app.put("/v1/routes/{name}/weights")
        async def put(name: str, weights: Weights) -> dict[str, Any]:
            return await self.weigh(name, weights)

        self.requests = 0
        self._app = BearerAuth(app, token=TOKEN)

    async def weigh(self, route: str, weights: Mapping[str, int]) -> dict[str, Any]:
        """What a control plane does, as far as a desk sees of it."""
        if route != "shop":
            raise UnknownObject(what=f"route {route}", similar="")
        return {"route": route, "weights": dict(weights), "name": "caf\xe9"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        await self._app(scope, receive, send)


class House:
    """A server; *renew* is what carries out a renewal just now."""

    def __init__(self, renew: Renew, app: Counted) -> None:
        self.renew = renew
        self.app = app
        self.desk = PlainDesk(
            token=TOKEN,
            renew=lambda *place: self.renew(*place),  # noqa: PLW0108 - tests change it
            weigh=app.weigh,
            refuse=lambda error: error_response(error, STATUSES),
        )
        self.port = 0
        self.clients: list[Client] = []

    async def connect(self, port: int | None = None) -> Client:
        client = Client(*await asyncio.open_connection("127.0.0.1", port or self.port))
        self.clients.append(client)
        return client


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, *parts: str) -> tuple[str, dict[str, str], str]:
        for part in parts:
            self.writer.write(part.encode("latin-1"))
            await self.writer.drain()
            await asyncio.sleep(0)
        return await self.answer()

    async def answer(self) -> tuple[str, dict[str, str], str]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = {name: value for name, _, value in (line.partition(": ") for line in lines)}
            size = int(headers.get("content-length", "0"))
            return status, headers, (await self.reader.readexactly(size)).decode()

    async def ended(self) -> bool:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.reader.read() == b""

    async def close(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


def listening() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound


@pytest.fixture
async def house() -> AsyncIterator[House]:
    store = open_memory_store()
    registry = Registry(store)
    house = House(registry.renew, Counted(registry))
    await registry.register(Instance(InstanceId("a-1"), "catalogue", "10.0.0.1", 80))
    bound = listening()
    async with serving(house.app, bound, desk=house.desk):
        house.port = bound.getsockname()[1]
        yield house
        for client in house.clients:
            await client.close()
    await store.close()


async def test_renewal_is_answered_without_the_application(house: House) -> None:
    client = await house.connect()
    for _ in range(3):
        status, headers, body = await client.ask(RENEWAL)
        assert (status, body) == ("HTTP/1.1 200 OK", '{"ttl":"10s"}')
        assert headers["content-type"] == "application/json"
    assert house.app.requests == 0


async def test_renewal_really_renews(house: House) -> None:
    renewed = []
    before = house.renew

    async def renew(service: str, instance_id: str) -> timedelta:
        renewed.append((service, instance_id))
        return await before(service, instance_id)

    house.renew = renew
    client = await house.connect()
    await client.ask(RENEWAL)
    assert renewed == [("catalogue", "a-1")]


REQUESTS = [
    RENEWAL,
    RENEWAL.replace("a-1", "nobody"),
    RENEWAL.replace("a-1", "a%2D1"),
    RENEWAL.replace("catalogue", "Nonsense!"),
    RENEWAL.replace(TOKEN, "wrong"),
    RENEWAL.replace("host: x", "host: x\r\nx-request-id: 7"),
    RENEWAL.replace("host: x", "host: x\r\ncontent-length: 3") + "abc",
    RENEWAL.replace("host: x", "host: x\r\ntransfer-encoding: chunked") + "0\r\n\r\n",
    RENEWAL.replace("/lease", "/lease?x=1"),
    RENEWAL.replace("PUT", "GET"),
    RENEWAL.replace("1.1", "1.0"),
    RENEWAL.replace(" HTTP/1.1", ""),
    REGISTRATION,
    REGISTRATION.replace("10.0.0.1", "10.0.0.2"),
    LIST,
    MOVE,
    MOVE.replace("shop", "nobody"),
    MOVE.replace(TOKEN, "wrong"),
    move('{"old": 90.0}'),
    move('{"old": true}'),
    move("[" * 4000),
    move('{"old": '),
    move("[]"),
    move(""),
    move('{"old": 1}', media="text/plain"),
    move('{"old": 1, "old": 2}'),
    "nonsense\r\n\r\n",
]


async def test_answers_are_those_that_the_application_gives(house: House) -> None:
    bound = listening()
    async with serving(house.app, bound):
        plain = bound.getsockname()[1]
        for request in REQUESTS:
            answers = []
            for port in (plain, house.port):
                client = await house.connect(port)
                answers.append(await client.ask(request))
            assert answers[0] == answers[1], request


async def test_connection_serves_renewals_and_everything_else_in_turn(house: House) -> None:
    client = await house.connect()
    for _ in range(3):
        assert (await client.ask(REGISTRATION))[0] == "HTTP/1.1 201 Created"
        assert (await client.ask(RENEWAL))[2] == '{"ttl":"10s"}'
        assert '"a-1"' in (await client.ask(LIST))[2]
    assert house.app.requests == 6


async def test_requests_in_pieces_and_in_a_row_are_answered_in_order(house: House) -> None:
    client = await house.connect()
    middle = len(RENEWAL) // 2
    assert (await client.ask(RENEWAL[:middle], RENEWAL[middle:]))[2] == '{"ttl":"10s"}'
    client.writer.write((RENEWAL + LIST + RENEWAL + RENEWAL).encode())
    bodies = [(await client.answer())[2] for _ in range(4)]
    assert [body[:6] for body in bodies] == ['{"ttl"', '[{"id"', '{"ttl"', '{"ttl"']
    client.writer.write(RENEWAL.encode())
    client.writer.write(RENEWAL.encode())
    client.writer.write(LIST.encode())
    bodies = [(await client.answer())[2] for _ in range(3)]
    assert [body[:6] for body in bodies] == ['{"ttl"', '{"ttl"', '[{"id"']


async def test_body_that_looks_like_a_renewal_is_a_body(house: House) -> None:
    """Also when it comes alone, after the request was refused without it."""
    client = await house.connect()
    head = REGISTRATION.partition("\r\n\r\n")[0]
    refused = head.replace(f"length: {len(BODY)}", f"length: {len(RENEWAL)}")
    refused = refused.replace(TOKEN, "wrong") + "\r\n\r\n"
    assert (await client.ask(refused))[0].startswith("HTTP/1.1 401")
    client.writer.write(RENEWAL.encode())
    assert '"a-1"' in (await client.ask(LIST))[2], "the next answer is of the next request"
    assert house.app.requests == 2


async def test_trouble_of_the_store_is_a_problem(house: House) -> None:
    async def renew(_: str, __: str) -> timedelta:
        raise StoreFailing(path=Path("x"), reason="y")

    house.renew = renew
    client = await house.connect()
    status, headers, body = await client.ask(RENEWAL)
    assert status == "HTTP/1.1 503 Service Unavailable"
    assert headers["content-type"] == "application/problem+json"
    assert headers["retry-after"] == "1"
    assert "store" in body


async def test_fault_of_ours_is_a_problem_that_tells_no_secrets(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    async def renew(_: str, __: str) -> timedelta:
        raise RuntimeError("secret")

    house.renew = renew
    client = await house.connect()
    status, _, body = await client.ask(RENEWAL)
    assert status == "HTTP/1.1 500 Internal Server Error"
    assert "secret" not in body
    assert "renewal of catalogue/a-1 failed" in caplog.text


async def test_client_that_goes_away_meanwhile_harms_nobody(house: House) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def renew(_: str, __: str) -> timedelta:
        asked.set()
        await go_on.wait()
        return timedelta(seconds=3)

    house.renew = renew
    gone, stays = await house.connect(), await house.connect()
    gone.writer.write(RENEWAL.encode())
    await asked.wait()
    gone.writer.transport.abort()
    await asyncio.sleep(0)
    go_on.set()
    assert (await stays.ask(RENEWAL))[2] == '{"ttl":"3s"}'


async def test_client_that_sends_without_end_is_not_read_without_end(house: House) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def renew(_: str, __: str) -> timedelta:
        asked.set()
        await go_on.wait()
        return timedelta(seconds=3)

    house.renew = renew
    bound = listening()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    async with serving(house.app, bound, desk=house.desk):
        client = await house.connect(bound.getsockname()[1])
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        client.writer.write(RENEWAL.encode())
        await asked.wait()
        sending = asyncio.ensure_future(flood(client, 1024 * 1024))
        done, _ = await asyncio.wait([sending], timeout=0.2)
        assert not done, "nobody takes what is sent"
        go_on.set()
        assert (await client.answer())[2] == '{"ttl":"3s"}'
        assert (await client.answer())[2] == '{"ttl":"10s"}', "many at once are the application's"
        await client.close()
        with contextlib.suppress(OSError):
            await sending


async def flood(client: Client, size: int) -> None:
    for _ in range(size // len(RENEWAL)):
        client.writer.write(RENEWAL.encode())
        await client.writer.drain()


@pytest.mark.parametrize(
    "sent",
    ["", MOVE[:-3], LIST[:-3]],
    ids=["nothing", "weights that never end", "a head that never ends"],
)
async def test_idle_connection_is_closed_like_any_other(
    house: House, monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    monkeypatch.setattr(front, "_SWEEP_SECONDS", 0.01)
    monkeypatch.setattr("moreton.controlplane.api.serving.server._KEEP_ALIVE_SECONDS", 0)
    bound = listening()
    async with serving(house.app, bound, desk=house.desk):
        client = await house.connect(bound.getsockname()[1])
        client.writer.write(sent.encode())
        assert await client.ended()


async def test_server_stops_while_connections_are_open(house: House) -> None:
    bound = listening()
    async with serving(house.app, bound, desk=house.desk):
        clients = [await house.connect(bound.getsockname()[1]) for _ in range(3)]
        await clients[0].ask(RENEWAL)
        await clients[1].ask(LIST)
        await clients[2].ask(LIST)
        await clients[2].ask(RENEWAL)
    for client in clients:
        assert await client.ended()


async def test_weights_are_answered_without_the_application(house: House) -> None:
    client = await house.connect()
    head, blank, body = MOVE.partition("\r\n\r\n")
    for parts in ([MOVE], [head + blank, body], [head + blank, body[:5], body[5:]]):
        status, _, told = await client.ask(*parts)
        assert (status, told[:16]) == ("HTTP/1.1 200 OK", '{"route":"shop",')
    assert house.app.requests == 0


async def test_weights_and_everything_else_in_a_row_are_answered_in_order(house: House) -> None:
    client = await house.connect()
    head, blank, body = MOVE.partition("\r\n\r\n")
    for part in (head + blank, body + LIST, MOVE, RENEWAL):
        client.writer.write(part.encode())
        await client.writer.drain()
        await asyncio.sleep(0)
    bodies = [(await client.answer())[2] for _ in range(4)]
    assert [each[:6] for each in bodies] == ['{"rout', '[{"id"', '{"rout', '{"ttl"']
