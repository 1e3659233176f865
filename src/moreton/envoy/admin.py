"""Envoy's admin interface over its Unix socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from moreton.kernel.errors import MoretonError, RetryAdvice

_ANSWER_SECONDS_MAX = 5.0
_HEAD_BYTES_MAX = 64 * 1024


class EnvoyDoesNotAnswer(MoretonError):
    """Envoy's admin interface cannot be reached or does not answer in time."""

    code = "envoy-does-not-answer"
    retry = RetryAdvice.AFTER


class AdminClient:
    """Asks one Envoy; every call opens a connection of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def get(self, path: str) -> bytes:
        """The body of GET *path*."""
        return await self._ask("GET", path)

    async def post(self, path: str) -> bytes:
        """The body of POST *path*."""
        return await self._ask("POST", path)

    async def is_ready(self) -> bool:
        """Whether Envoy has started its workers and is not draining."""
        try:
            return (await self.get("/ready")).strip() == b"LIVE"
        except EnvoyDoesNotAnswer:
            return False

    async def server_info(self) -> Any:
        """`/server_info` as JSON."""
        return json.loads(await self.get("/server_info"))

    async def stats(self, pattern: str) -> dict[str, int]:
        """Counters and gauges whose names match the regex *pattern*."""
        body = await self.get(f"/stats?format=json&filter={pattern}")
        return {
            item["name"]: item["value"]
            for item in json.loads(body)["stats"]
            if "value" in item and isinstance(item["value"], int)
        }

    async def connections(self) -> int:
        """Open downstream connections, the admin's own left out."""
        found = await self.stats(r"^http\..*downstream_cx_active$")
        return sum(value for name, value in found.items() if not name.startswith("http.admin."))

    async def _ask(self, method: str, path: str) -> bytes:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                reader, writer = await asyncio.open_unix_connection(
                    str(self._socket), limit=_HEAD_BYTES_MAX
                )
                try:
                    writer.write(
                        f"{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\n"
                        "connection: close\r\n\r\n".encode()
                    )
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            raise EnvoyDoesNotAnswer(
                f"Envoy does not answer at {self._socket}: its state is unknown; see its log"
            ) from error
        return _dechunked(body) if b"transfer-encoding: chunked" in head.lower() else body


def _dechunked(body: bytes) -> bytes:
    out = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            break
        out.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(out)
