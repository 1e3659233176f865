"""A steady HTTP/1.1 load that hides nothing: no retries, no reconnects unseen.

General HTTP clients repeat a request whose kept-alive connection was closed under it, which is
just what a test of hitless changes must see. This one counts it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Self, cast
from urllib.parse import urlsplit

_HEAD_BYTES_MAX = 64 * 1024
_CONNECT_SECONDS_MAX = 5.0


@dataclass(slots=True)
class Sample:
    """One answer or failure: when it was due, how long it took, and what came."""

    due: float  # seconds of `time.perf_counter`
    seconds: float
    outcome: str  # the status as text, or `reset`, `refused`, `timeout`, `malformed`
    label: str  # the value of the label header, or ""
    sent: float = 0.0  # when it left: later than *due* if the one before it was late


@dataclass(slots=True)
class LoadReport:
    """What a load saw. *latencies* are seconds from when each request was due."""

    requests: int = 0
    failures: int = 0  # anything but 2xx and 3xx
    resets: int = 0  # connections refused, or ended while a request was under way
    closes: int = 0  # connections that the server ended between two requests
    outcomes: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """The latency in seconds below which *share* of the requests lie; 0.0 without any."""
        if not self.latencies:
            return 0.0
        ranked = sorted(self.latencies)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))]

    def add(self, sample: Sample) -> None:
        """Count *sample* in."""
        self.requests += 1
        self.outcomes[sample.outcome] += 1
        self.labels[sample.label] += 1
        self.latencies.append(sample.seconds)
        if sample.outcome in {"reset", "refused"}:
            self.resets += 1
        if not sample.outcome.startswith(("2", "3")):
            self.failures += 1


class SteadyLoad:
    """*rate* GET requests a second to *url* over *connections* kept-alive connections.

    With *paths* those are asked for in turn, instead of the one of *url*.

    Each connection has a schedule of its own; a late answer delays only that connection, and the
    delay counts as latency of the requests behind it (no coordinated omission). `report` grows
    while it runs; `on_sample`, when set, is called with each `Sample`.
    """

    def __init__(
        self,
        url: str,
        *,
        rate: float,
        connections: int = 8,
        label_header: str = "x-served-by",
        headers: Mapping[str, str] | None = None,
        paths: Sequence[str] = (),
        timeout_seconds: float = 10.0,
    ) -> None:
        if rate <= 0 or connections < 1:
            raise ValueError(f"rate {rate} and connections {connections} must be positive")
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"{url!r} is not a plain http:// address; give one")
        self._host = parts.hostname
        self._port = parts.port or 80
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [f"Host: {parts.netloc}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self._requests = cycle(
            ("\r\n".join([f"GET {each} HTTP/1.1", *lines]) + "\r\n\r\n").encode()
            for each in paths or [path]
        )
        self._label_header = label_header.lower().encode()
        self._interval = connections / rate
        self._connections = connections
        self._timeout = timeout_seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self.report = LoadReport()
        self.on_sample: Callable[[Sample], None] | None = None

    async def __aenter__(self) -> Self:
        start = time.perf_counter()
        for index in range(self._connections):
            due = start + self._interval * index / self._connections
            self._tasks.append(asyncio.create_task(self._connection(due)))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def stop(self) -> LoadReport:
        """Finish the requests under way, close, and return the report."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        return self.report

    async def wait_requests(self, count: int) -> None:
        """Return once *count* requests have been answered or have failed."""
        while self.report.requests < count:
            await asyncio.sleep(0.01)

    async def _connection(self, due: float) -> None:
        client: _Client | None = None
        while not self._stopping.is_set():
            pause = due - time.perf_counter()
            if pause > 0:
                await asyncio.sleep(pause)
            if self._stopping.is_set():
                break
            outcome, label, sent = "refused", "", time.perf_counter()
            if client is not None and client.closed:
                self.report.closes += 1
                client = None
            if client is None:
                client = await self._connect()
            if client is not None:
                outcome, label = await client.ask(next(self._requests), self._timeout)
                if not outcome.isdigit():
                    client = None  # it ended with this request, not between two
            sample = Sample(due, time.perf_counter() - due, outcome, label, sent)
            self.report.add(sample)
            if self.on_sample is not None:
                self.on_sample(sample)
            due += self._interval
        if client is not None:
            client.close()

    async def _connect(self) -> _Client | None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS_MAX):
                _, client = await loop.create_connection(
                    lambda: _Client(self._label_header), self._host, self._port
                )
        except OSError:
            return None
        return client


class _Client(asyncio.Protocol):
    """One connection with at most one request under way."""

    def __init__(self, label_header: bytes) -> None:
        self._needle = b"\r\n" + label_header + b":"
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[str, str]] | None = None
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio.Transport: no isinstance here.
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed = True
        self._resolve("reset", "")

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        complete = _parse(self._buffer, self._needle)
        if complete is None:
            return
        self._buffer.clear()
        outcome, label, keep = complete
        if not keep:
            self.close()
        self._resolve(outcome, label)

    async def ask(self, request: bytes, timeout_seconds: float) -> tuple[str, str]:
        """Send *request*; its outcome and label."""
        assert self._transport is not None
        if self.closed:  # the peer closed between two requests: a fault of nobody's request
            return "reset", ""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._answer
        except TimeoutError:
            self.close()
            return "timeout", ""

    def close(self) -> None:
        """Close the connection."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    def _resolve(self, outcome: str, label: str) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((outcome, label))


def _parse(buffer: bytearray, needle: bytes) -> tuple[str, str, bool] | None:
    """The status, the label and whether to keep the connection, once *buffer* is complete."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return ("malformed", "", False) if len(buffer) > _HEAD_BYTES_MAX else None
    head = bytes(buffer[:end]).lower() + b"\r\n"
    status = head[9:12].decode("ascii", "replace")
    body = len(buffer) - end - 4
    length = _header(head, b"\r\ncontent-length:")
    if length is not None:
        if body < int(length):
            return None
    elif b"\r\ntransfer-encoding: chunked" in head:
        if not buffer.endswith(b"0\r\n\r\n"):
            return None
    elif status not in {"204", "304"}:
        return "malformed", "", False
    label = _header(head, needle)
    keep = b"\r\nconnection: close" not in head
    return status, "" if label is None else label.decode("latin-1"), keep


def _header(head: bytes, needle: bytes) -> bytes | None:
    start = head.find(needle)
    if start < 0:
        return None
    start += len(needle)
    return head[start : head.find(b"\r\n", start)].strip()
