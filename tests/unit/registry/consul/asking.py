"""The API on a store in memory, asked as ASGI servers ask: no socket, no thread."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, MutableMapping
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from moreton.controlplane.following import Quiet, in_background, keep_following
from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import SystemClock
from moreton.registry import Instance, InstanceId, Registry
from moreton.registry.consul import Anonymous, Cluster, ConsulApi, ConsulSettings, NodeNames
from moreton.store import Store, open_store

TOKEN = "made-up"
NODE = NodeNames("moreton", "00000000-0000-4000-8000-000000000001", "127.0.0.1", "dc1")


@dataclass(frozen=True, slots=True)
class Told:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def index(self) -> int:
        return int(self.headers["x-consul-index"])


@dataclass(slots=True)
class Consul:
    """One node's API."""

    api: ConsulApi
    store: Store
    registry: Registry
    asked: list[asyncio.Task[Told]] = field(default_factory=list)

    async def ask(
        self, method: str, target: str, body: Any = None, *, token: str = TOKEN, **headers: str
    ) -> Told:
        """One request; *body* is sent as JSON unless it is bytes."""
        url = urlsplit(target)
        sent = (
            body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        )
        given = {"x-consul-token": token} if token else {}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "method": method,
            "path": url.path,
            "query_string": url.query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        }
        messages: list[MutableMapping[str, Any]] = []
        coming = [{"type": "http.request", "body": sent, "more_body": False}]

        async def receive() -> MutableMapping[str, Any]:
            if coming:
                return coming.pop()
            await asyncio.Event().wait()
            raise AssertionError("nobody hangs up here")

        async def send(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        await self.api.app(scope, receive, send)
        start, *rest = messages
        return Told(
            start["status"],
            {name.decode(): value.decode() for name, value in start["headers"]},
            b"".join(each["body"] for each in rest),
        )

    async def get(self, target: str, **headers: str) -> Told:
        """A reading request."""
        return await self.ask("GET", target, **headers)

    async def put(self, target: str, body: Any = None, **headers: str) -> Told:
        """A writing request."""
        return await self.ask("PUT", target, body, **headers)

    async def begin(self, target: str) -> asyncio.Task[Told]:
        """A reading request that waits."""
        before = self.api.statistics().waiting
        task = asyncio.create_task(self.get(target))
        self.asked.append(task)
        while self.api.statistics().waiting == before and not task.done():
            await asyncio.sleep(0)
        return task

    async def register(self, service: str = "orders", **more: Any) -> Told:
        """By the agent's endpoint."""
        body = {"Name": service, "Port": 8000, "Address": "10.0.0.1", **more}
        told = await self.put("/v1/agent/service/register", body)
        assert told.status == 200, told.text
        return told

    async def register_own(self, name: str, service: str = "orders", **more: Any) -> None:
        """As Moreton's own client would."""
        instance = Instance(InstanceId(name), service, "10.0.0.9", 9000, **more)
        await self.registry.register(instance, ttl=timedelta(hours=1))
        await self.api.settle()


async def _resolve(host: str) -> str:
    """Asks no name server: tests are alone."""
    known = {"localhost": "127.0.0.1", "shop.example": "10.1.2.3"}
    try:
        return known.get(host) or str(ip_address(host))
    except ValueError as error:
        raise OSError("name or service not known") from error


@contextlib.asynccontextmanager
async def serving(
    store: Store | None = None,
    *,
    anonymous: Anonymous = Anonymous.NOTHING,
    script_checks: bool = False,
) -> AsyncIterator[Consul]:
    """The API on *store*, or on one of its own, within the block."""
    kept = store or open_store("memory:")
    registry = Registry(kept)
    api = ConsulApi(
        kept,
        registry,
        ConsulSettings(NODE, TOKEN, "1.20.0", anonymous, script_checks),
        cluster=Cluster(lambda: "127.0.0.1:7400", lambda: ["127.0.0.1:7400"]),
        clock=SystemClock(),
        rng=seeded_rng(1),
        resolve=_resolve,
    )
    consul = Consul(api, kept, registry)
    async with contextlib.AsyncExitStack() as stack:
        for name, work in api.works().items():
            following = keep_following(work, what=name, troubles=Quiet())
            await stack.enter_async_context(in_background(following, name=name))
        await api.wait_ready()
        yield consul
        api.close()
        for task in consul.asked:
            task.cancel()
        await asyncio.gather(*consul.asked, return_exceptions=True)
    if store is None:
        await kept.close()
