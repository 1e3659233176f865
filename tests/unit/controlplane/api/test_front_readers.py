"""Connections whose clients do not read what they asked for."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from moreton.controlplane.api.serving import front

pytestmark = pytest.mark.slow

PATIENCE_SECONDS = 20


async def test_client_that_takes_no_answers_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front, "_SWEEP_SECONDS", 0.01)

    class Generous:
        def answer(self, data: bytes) -> tuple[bytes, ...]:
            del data
            return (bytes(20_000_000),)  # more than all buffers on the way take

    async def nothing(*_: Any) -> None: ...

    state, make = ServerState(), front.connections(Generous())
    config = Config(nothing, timeout_keep_alive=1)
    bound = socket.create_server(("127.0.0.1", 0))
    server = await asyncio.get_running_loop().create_server(
        lambda: make(config=config, server_state=state, app_state={}), sock=bound
    )
    with socket.create_connection(bound.getsockname()) as client:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not state.connections:
                await asyncio.sleep(0)
            client.send(b"anything")
            while state.connections:
                await asyncio.sleep(0)
    server.close()
