"""A watch at something that speaks as etcd does, and says what etcd never would."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

import pytest

from moreton.store import Store, open_store

PATIENCE = 10
BEGUN = {"created": True, "header": {"cluster_id": "1", "revision": "1"}}
CHANGED = {
    "header": {"cluster_id": "1", "revision": "2"},
    "events": [{"kv": {"key": "YQ==", "value": "Mg==", "create_revision": "2", "version": "1"}}],
}
CHANGED["events"][0]["kv"]["mod_revision"] = "2"  # type: ignore[index]


async def answered(reader: asyncio.StreamReader, of: Callable[[str], list[object]]) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = next(line for line in head.split("\r\n") if line.startswith("content-length:"))
    await reader.readexactly(int(length.partition(":")[2]))
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in of(head.split()[1]))
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(lines), lines)


@pytest.mark.parametrize("nonsense", [{"header": []}, {"events": 7}, {"events": [{"kv": "odd"}]}])
async def test_a_watch_goes_on_after_what_it_does_not_understand(nonsense: object) -> None:
    watches = 0
    serving: set[asyncio.Task[None] | None] = set()

    def said(path: str) -> list[object]:
        nonlocal watches
        if path != "/v3/watch":
            return [{"header": {"cluster_id": "1", "revision": "1"}}]
        watches += 1
        return [{"result": BEGUN}, {"result": nonsense if watches == 1 else CHANGED}]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                writer.write(await answered(reader, said))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    store: Store = open_store(f"etcd://{host}:{port}")
    async with asyncio.timeout(PATIENCE), store.watch(b"a") as changes:
        batch = await anext(changes)
        assert [event.kv.value for event in batch.events] == [b"2"]
    assert watches > 1
    await store.close()
    server.close()
    await asyncio.wait({task for task in serving if task is not None})
