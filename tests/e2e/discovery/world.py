"""A registry that pushes its changes, and what to find in it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from e2e.registry.world import PATIENCE_SECONDS, TOKEN, RegistryServer
from moreton.controlplane.api.notices import Notices
from moreton.registry import Instance, InstanceId, InstanceView, Registry
from moreton.store.errors import StoreClosed

HOUR = timedelta(hours=1)
__all__ = ["TOKEN", "PushingServer", "instance"]


@dataclass(slots=True)
class PushingServer(RegistryServer):
    """With the streams of changes."""

    _notices: Notices | None = None

    @property
    def place(self) -> dict[str, Any]:
        """How clients find it."""
        return {"api": self.url, "token": TOKEN}

    def put(self, *instances: Instance) -> None:
        """Register *instances*, for an hour."""
        for each in instances:
            self._do(lambda registry, each=each: registry.register(each, ttl=HOUR))

    def remove(self, each: Instance) -> None:
        """Take an instance away."""
        self._do(lambda registry: registry.deregister(each.service, each.id))

    def clear(self) -> None:
        """As if nobody had ever come; of a server that runs."""
        assert self._registry is not None
        found = asyncio.run_coroutine_threadsafe(self._registry.instances(), self._running_loop())
        for each in found.result(PATIENCE_SECONDS).instances:
            self.remove(each)
        self.requests.clear()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        assert self._loop is not None
        return self._loop

    def _do(self, action: Any) -> None:
        assert self._registry is not None
        done = asyncio.run_coroutine_threadsafe(action(self._registry), self._running_loop())
        done.result(PATIENCE_SECONDS)

    def _application(self, registry: Registry) -> FastAPI:
        app = RegistryServer._application(self, registry)
        view = InstanceView()
        self._notices = notices = Notices(view)
        feeding: list[asyncio.Task[None]] = []

        async def feed(ready: asyncio.Event) -> None:
            with contextlib.suppress(StoreClosed):
                async with registry.watch() as changes:
                    async for change in changes:
                        view.apply(change)
                        notices.tell(change)
                        ready.set()

        @app.get("/v1/watch")
        async def watch(prefix: str) -> StreamingResponse:
            if not feeding:
                ready = asyncio.Event()
                feeding.append(asyncio.create_task(feed(ready)))
                await ready.wait()
            service = prefix.removeprefix("instances/")
            return StreamingResponse(notices.stream(service), media_type="text/event-stream")

        return app

    def stop(self) -> None:
        assert self._notices is not None
        self._running_loop().call_soon_threadsafe(self._notices.close)
        RegistryServer.stop(self)


def instance(name: str, port: int, service: str = "orders", **more: Any) -> Instance:
    return Instance(InstanceId(name), service, "127.0.0.1", port, **more)
