"""Envoy's admin interface over its Unix socket."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Collection
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from moreton.kernel.errors import MoretonError, RetryAdvice

_ANSWER_TIME_MAX = timedelta(seconds=5)
_HEAD_BYTES_MAX = 64 * 1024
# A dump of 5,000 routes has some 10 MB.
_BODY_BYTES_MAX = 256 * 1024 * 1024
_READ_BYTES = 256 * 1024
_ACTIVE = r"^http\..*\.downstream_(cx|rq)_active$"
_OWN = "http.admin."
_CLUSTER, _EJECTIONS = "cluster.", ".outlier_detection.ejections_active"
_PATTERN_CHARS_MAX = 8_000  # of a head of at most 60 KiB, where each may take three


class EnvoyDoesNotAnswer(MoretonError):
    """Envoy's admin interface cannot be reached, or does not answer as it should."""

    code = "envoy-does-not-answer"
    retry = RetryAdvice.AFTER


class AdminClient:
    """Asks one Envoy; every call opens a connection of its own and raises `EnvoyDoesNotAnswer`."""

    def __init__(self, socket: Path, *, time_max: timedelta = _ANSWER_TIME_MAX) -> None:
        self._socket = socket
        self._seconds = time_max.total_seconds()

    async def get(self, path: str) -> bytes:
        """The body of GET *path*, which must succeed."""
        return self._body(path, await self._ask("GET", path))

    async def post(self, path: str) -> bytes:
        """The body of POST *path*, which must succeed."""
        return self._body(path, await self._ask("POST", path))

    async def is_ready(self) -> bool:
        """Whether Envoy has its first configuration, has started its workers, is not draining."""
        try:
            status, _ = await self._ask("GET", "/ready")
        except EnvoyDoesNotAnswer:
            return False
        return status == 200

    async def answers(self) -> bool:
        """Whether Envoy can be asked at all, ready or not."""
        try:
            await self._ask("GET", "/ready")
        except EnvoyDoesNotAnswer:
            return False
        return True

    async def server_info(self) -> Any:
        """`/server_info`: version, state, command line, uptime; 200 kB, as it lists extensions."""
        return json.loads(await self.get("/server_info"))

    async def hot_restart_version(self) -> str:
        """Envoys that say the same can hand their sockets to each other."""
        return (await self.get("/hot_restart_version")).decode().strip()

    async def stats(
        self, pattern: str, *, only_counters: bool = False, only_used: bool = False
    ) -> dict[str, int]:
        """Counters and gauges whose names match the regex *pattern*.

        *only_counters* costs less, and *only_used*, without what never changed, a third of that.
        """
        asked = {"format": "json", "filter": pattern}
        if only_counters:
            asked["type"] = "Counters"
        query = urlencode(asked, quote_via=quote) + ("&usedonly" if only_used else "")
        return {
            item["name"]: item["value"]
            for item in json.loads(await self.get(f"/stats?{query}"))["stats"]
            if "value" in item and isinstance(item["value"], int)
        }

    async def prometheus(self, pattern: str | None = None) -> bytes:
        """What has a value of the statistics, in Prometheus' text format."""
        more = "" if pattern is None else "&" + urlencode({"filter": pattern}, quote_via=quote)
        return await self.get(f"/stats/prometheus?usedonly{more}")

    async def config_dump(self, resource: str | None = None, *, mask: str = "") -> Any:
        """`/config_dump`: one *resource* field such as `dynamic_listeners`, the fields in *mask*.

        Costs Envoy's main thread some milliseconds for every thousand routes.
        """
        query = {"resource": resource, "mask": mask}
        given = urlencode({key: value for key, value in query.items() if value})
        return json.loads(await self.get(f"/config_dump?{given}"))

    async def clusters(self, names: Collection[str] | None = None) -> Any:
        """`/clusters`: every endpoint with its health; with *names*, those of clusters so named.

        Costs Envoy's main thread some 40 ms for every thousand endpoints.
        """
        asked = {"format": "json"}
        if names is not None:
            pattern = f"^({'|'.join(map(re.escape, sorted(names)))})$"
            # What is longer no Envoy takes: it tells of all.
            if len(pattern) <= _PATTERN_CHARS_MAX:
                asked["filter"] = pattern
        return json.loads(await self.get(f"/clusters?{urlencode(asked, quote_via=quote)}"))

    async def ejected(self) -> frozenset[str]:
        """The endpoints that rest for their failures, in any cluster, as `address:port`."""
        asked = {"format": "json", "type": "Gauges", "filter": f"{_EJECTIONS}$"}
        query = f"{urlencode(asked, quote_via=quote)}&usedonly"
        resting = json.loads(await self.get(f"/stats?{query}"))["stats"]
        where = (x["name"].removeprefix(_CLUSTER) for x in resting if x.get("value"))
        names = [each.removesuffix(_EJECTIONS) for each in where]
        found = await self.clusters(names) if names else {}
        return frozenset(
            _endpoint(host)
            for cluster in found.get("cluster_statuses", ())
            for host in cluster.get("host_statuses", ())
            if host.get("health_status", {}).get("failed_outlier_check")
        )

    async def listeners(self) -> list[str]:
        """The addresses that are listened on, as `host:port`."""
        found = json.loads(await self.get("/listeners?format=json"))
        addresses = [each["local_address"] for each in found.get("listener_statuses", [])]
        sockets = [each["socket_address"] for each in addresses if "socket_address" in each]
        return [f"{each['address']}:{each['port_value']}" for each in sockets]

    async def connections(self) -> int:
        """Open downstream connections, the admin's own left out."""
        return (await self.activity())[0]

    async def activity(self) -> tuple[int, int]:
        """Open downstream connections and requests under way, the admin's own left out."""
        found = {n: v for n, v in (await self.stats(_ACTIVE)).items() if not n.startswith(_OWN)}
        connections = sum(v for name, v in found.items() if name.endswith("cx_active"))
        return connections, sum(found.values()) - connections

    async def fail_healthcheck(self) -> None:
        """Fail Envoy's own health checks, and close every connection with its next answer."""
        await self.post("/healthcheck/fail")

    async def drain_listeners(self, *, graceful: bool = False, skip_exit: bool = False) -> None:
        """Stop listening at once; when *graceful*, after the drain time; when *skip_exit*, never.

        With *skip_exit* connections are only asked to close.
        """
        words = [w for w, on in (("graceful", graceful), ("skip_exit", skip_exit)) if on]
        await self.post("/drain_listeners" + ("?" + "&".join(words) if words else ""))

    def _body(self, path: str, answer: tuple[int, bytes]) -> bytes:
        status, body = answer
        if status != 200:
            said = body[:200].decode(errors="replace").strip()
            raise EnvoyDoesNotAnswer(
                f"Envoy answers {path} at {self._socket} with status {status} ({said}): that part "
                "of its state is unknown; see its log"
            )
        return body

    async def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        try:
            async with asyncio.timeout(self._seconds):
                reader, writer = await asyncio.open_unix_connection(
                    str(self._socket), limit=_HEAD_BYTES_MAX
                )
                try:
                    writer.write(
                        f"{method} {path} HTTP/1.1\r\nhost: admin\r\ncontent-length: 0\r\n"
                        "connection: close\r\n\r\n".encode()
                    )
                    head = await reader.readuntil(b"\r\n\r\n")
                    body = await _read_body(reader, head)
                finally:
                    writer.close()
            return int(head.split(b" ", 2)[1]), body
        except (OSError, EOFError, ValueError, IndexError, asyncio.LimitOverrunError) as error:
            raise EnvoyDoesNotAnswer(
                f"Envoy does not answer at {self._socket}: its state is unknown; see its log"
            ) from error


def _endpoint(host: Any) -> str:
    place = host.get("address", {}).get("socket_address", {})
    address, port = place.get("address", ""), place.get("port_value")
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


async def _read_body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    if b"transfer-encoding: chunked" not in head.lower():
        return await _read_all(reader)
    parts = []
    room = _BODY_BYTES_MAX
    while (size := int(await reader.readline(), 16)) > 0:
        room -= size
        if room < 0:
            raise ValueError("the answer is too large")
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    return b"".join(parts)


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    out = bytearray()
    while part := await reader.read(_READ_BYTES):
        out += part
        if len(out) > _BODY_BYTES_MAX:
            raise ValueError("the answer is too large")
    return bytes(out)
