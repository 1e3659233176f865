"""What happens, as server-sent events: `GET /v1/watch`."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

# A reader that is so many events behind has lost them; it is told so and starts over.
EVENTS_BEHIND_MAX = 10_000
# A comment now and then lets both ends notice that the other is gone.
HEARTBEAT_SECONDS = 15.0


class _Reader:
    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.lost = False
        self.some = asyncio.Event()

    def add(self, event: str) -> None:
        if len(self.waiting) >= EVENTS_BEHIND_MAX:
            self.waiting.clear()
            self.lost = True
        self.waiting.append(event)
        self.some.set()


class Events:
    """Hands every event to every reader; a slow reader holds up nobody."""

    def __init__(self) -> None:
        self._readers: set[_Reader] = set()
        self._last = 0
        self._closed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._readers)

    def tell(self, name: str, data: Mapping[str, Any]) -> None:
        """Tell every reader; costs nothing without one."""
        if not self._readers:
            return
        self._last += 1
        event = f"event: {name}\nid: {self._last}\ndata: {json.dumps(data)}\n\n"
        for reader in self._readers:
            reader.add(event)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed.set()
        for reader in self._readers:
            reader.some.set()

    async def stream(self) -> AsyncIterator[str]:
        """Events from now on, as text for the wire."""
        with self._reading() as reader:
            yield ": moreton\n\n"
            while not self._closed.is_set():
                try:
                    async with asyncio.timeout(HEARTBEAT_SECONDS):
                        await reader.some.wait()
                except TimeoutError:
                    yield ": still here\n\n"
                    continue
                reader.some.clear()
                if reader.lost:
                    reader.lost = False
                    yield "event: lost\ndata: {}\n\n"
                while reader.waiting:
                    yield reader.waiting.popleft()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_Reader]:
        reader = _Reader()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
