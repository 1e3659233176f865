"""Changes of instances as server-sent events: `GET /v1/watch?prefix=instances`.

Each change is put into words once, and handed to those who watch its service: nobody is woken for
another. A reader that cannot keep up holds a bounded number of them, then none: it is told to start
over by all there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from moreton.registry import (
    InstanceChange,
    InstanceList,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
    Registry,
)
from moreton.registry.core.documents import to_document
from moreton.store.errors import StoreError

# What a reader may be behind. The words are shared, so that it costs a reader some kilobytes.
NOTICES_BEHIND_MAX = 256
# A comment now and then lets both ends of a quiet stream notice that the other is gone.
HEARTBEAT_SECONDS = 15.0
_STILL_HERE = b": still here\n\n"
_ALL = ""  # is no service's name


@dataclass(frozen=True, slots=True)
class NoticeStatistics:
    """Readers now; notices handed to a reader so far, and how often one was told to start over."""

    readers: int
    notices: int
    restarts: int


@dataclass(frozen=True, slots=True)
class _Notice:
    revision: int
    words: bytes


class _Reader:
    """What one reader has still to be told."""

    __slots__ = ("_asleep", "_waiting", "is_behind")

    def __init__(self) -> None:
        self._waiting: deque[_Notice] = deque()
        self._asleep: asyncio.Future[None] | None = None
        self.is_behind = True

    def begin(self) -> None:
        """All there is is about to be read: what comes from now on is kept."""
        self._waiting.clear()
        self.is_behind = False

    def add(self, notice: _Notice) -> None:
        if self.is_behind:
            return
        if len(self._waiting) >= NOTICES_BEHIND_MAX:
            self.lose()
            return
        self._waiting.append(notice)
        self.wake()

    def lose(self) -> None:
        """It has missed something."""
        self._waiting.clear()
        self.is_behind = True
        self.wake()

    def take(self, since: int) -> bytes:
        """The words of what is waiting, but for what is as old as *since*."""
        words = b"".join([each.words for each in self._waiting if each.revision > since])
        self._waiting.clear()
        return words

    def wake(self) -> None:
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    async def wait(self) -> bool:
        """Sleep until there is something; whether there is, or only time passed."""
        if self._waiting or self.is_behind:
            return True
        self._asleep = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                await self._asleep
        except TimeoutError:
            return False
        finally:
            self._asleep = None
        return True


class Notices:
    """Hands each change to those who watch its service; a slow reader holds up nobody.

    It is told of every change, in order; what a reader is to start from, *registry* is asked for.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._readers: dict[str, set[_Reader]] = {}
        self._is_closed = False
        self._notices = self._restarts = 0

    def statistics(self) -> NoticeStatistics:
        """Its numbers now."""
        readers = sum(map(len, self._readers.values()))
        return NoticeStatistics(readers, self._notices, self._restarts)

    def tell(self, change: InstanceChange) -> None:
        """Tell whom *change* concerns; costs nothing when there is nobody."""
        if not self._readers:
            return
        if isinstance(change, InstancesListed):
            # What lies between the last change and this list was told to nobody.
            for reader in self._all():
                reader.lose()
            return
        name, service, document = _event(change)
        concerned = (*self._readers.get(service, ()), *self._readers.get(_ALL, ()))
        if not concerned:
            return
        notice = _Notice(change.revision, _words(name, change.revision, document))
        for reader in concerned:
            reader.add(notice)
        self._notices += len(concerned)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._is_closed = True
        for reader in self._all():
            reader.wake()

    async def stream(
        self, service: str | None = None, *, cut_off: Callable[[], bool] = lambda: False
    ) -> AsyncGenerator[bytes, None]:
        """The instances of *service*, or all, as text for the wire; the revision is the event id.

        All there is comes first, as one event `listed`; then `registered`, `updated`, `removed`,
        and `listed` again when something was missed. Ends with the store, and when
        this node is *cut_off* from it: another one may know more.
        """
        since = 0
        with self._reading(service or _ALL) as reader:
            while not self._is_closed:
                if reader.is_behind:
                    self._restarts += since > 0
                    reader.begin()
                    try:
                        found = await self._registry.instances(service)
                    except StoreError:
                        return
                    since = found.revision
                    yield _listed(found)
                elif words := reader.take(since):
                    yield words
                elif not await reader.wait():
                    if cut_off():
                        return
                    yield _STILL_HERE

    def _all(self) -> list[_Reader]:
        return list(chain(*self._readers.values()))

    @contextlib.contextmanager
    def _reading(self, service: str) -> Iterator[_Reader]:
        reader = _Reader()
        readers = self._readers.setdefault(service, set())
        readers.add(reader)
        try:
            yield reader
        finally:
            readers.discard(reader)
            if not readers and self._readers.get(service) is readers:
                del self._readers[service]


_Event: TypeAlias = tuple[str, str, dict[str, Any]]


def _event(change: InstanceRegistered | InstanceUpdated | InstanceRemoved) -> _Event:
    """Its name, the service that it concerns, and what is said of it."""
    match change:
        case InstanceRegistered(_, instance):
            return "registered", instance.service, {"instance": to_document(instance)}
        case InstanceUpdated(_, instance, _):
            return "updated", instance.service, {"instance": to_document(instance)}
        case InstanceRemoved(_, service, instance_id, _):
            return "removed", service, {"service": service, "id": instance_id}


def _listed(found: InstanceList) -> bytes:
    instances = [to_document(each) for each in found.instances]
    return _words("listed", found.revision, {"instances": instances})


def _words(name: str, revision: int, document: dict[str, Any]) -> bytes:
    data = json.dumps({"revision": revision, **document})
    return f"event: {name}\nid: {revision}\ndata: {data}\n\n".encode()
