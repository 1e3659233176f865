"""A front door like etcd's JSON gateway, so that one client measures every system.

It knows `/v3/kv/put`, `/v3/kv/range` of one key, and `/v3/maintenance/status`.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

_END = b"\r\n\r\n"
_HEAD = b"HTTP/1.1 %d OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


class Table(Protocol):
    """What a system offers to its clients at one node."""

    async def put(self, key: bytes, value: bytes) -> int:
        """Keep *value* durably on a majority; the revision."""
        ...

    async def get(self, key: bytes) -> bytes | None:
        """What was put last, by anybody, before this was asked."""
        ...

    def status(self) -> tuple[int, int | None]:
        """The number of this node, and of the leader if one is known."""
        ...


async def serve(table: Table, port: int) -> asyncio.Server:
    """Answer at *port* of loopback."""
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: _Front(table), "127.0.0.1", port)


class _Front(asyncio.Protocol):
    def __init__(self, table: Table) -> None:
        self._table = table
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._tasks: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are not of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(_END)) >= 0:
            head = self._data[:end]
            at = head.lower().find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            begin = end + len(_END)
            if len(self._data) < begin + size:
                return
            body, self._data = self._data[begin : begin + size], self._data[begin + size :]
            task = asyncio.create_task(self._answer(head.split(b" ", 2)[1], body))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _answer(self, path: bytes, body: bytes) -> None:
        try:
            status, answer = 200, await _DOORS[path](self._table, json.loads(body or b"{}"))
        except Exception as error:  # noqa: BLE001 - the client counts it
            status, answer = 503, {"error": repr(error)}
        content = json.dumps(answer).encode()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_HEAD % (status, len(content), content))


async def _put(table: Table, asked: dict[str, Any]) -> dict[str, Any]:
    key, value = base64.b64decode(asked["key"]), base64.b64decode(asked["value"])
    return {"header": {"revision": str(await table.put(key, value))}}


async def _range(table: Table, asked: dict[str, Any]) -> dict[str, Any]:
    value = await table.get(base64.b64decode(asked["key"]))
    if value is None:
        return {}
    kv = {"key": asked["key"], "value": base64.b64encode(value).decode()}
    return {"kvs": [kv], "count": "1"}


async def _status(table: Table, _asked: dict[str, Any]) -> dict[str, Any]:
    node, leader = table.status()
    return {"header": {"member_id": str(node)}, "leader": str(leader or 0)}


_DOORS: dict[bytes, Callable[[Table, dict[str, Any]], Awaitable[dict[str, Any]]]] = {
    b"/v3/kv/put": _put,
    b"/v3/kv/range": _range,
    b"/v3/maintenance/status": _status,
}
