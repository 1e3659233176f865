"""The API's HTTP server on a socket that was bound before."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Generator
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from moreton.controlplane.api.serving.front import Desk, connections

# Open calls get so long to finish when the server stops.
_GRACE_SECONDS = 2
_KEEP_ALIVE_SECONDS = 75


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepts = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and say when it is done."""
        try:
            await super().startup(sockets)
        finally:
            self.accepts.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the control plane."""
        yield


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp,
    listening: socket.socket,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
    desk: Desk | None = None,
) -> AsyncIterator[None]:
    """Serve *app* on *listening* until the block ends; over TLS when given a *certificate*.

    A *desk* answers what it can before *app*.
    """
    config = uvicorn.Config(
        app,
        # Anything that makes protocols will do, not only a class.
        http="httptools" if desk is None else cast("Any", connections(desk)),
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        ssl_certfile=None if certificate is None else str(certificate),
        ssl_keyfile=None if key is None else str(key),
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]), name="api")
    try:
        await server.accepts.wait()
        yield
    finally:
        server.should_exit = True
        await task
