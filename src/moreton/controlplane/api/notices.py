"""Changes of instances as server-sent events: `GET /v1/watch?prefix=instances`.

Each change is put into words once, and handed to those who watch its service: nobody is woken for
another. A reader that cannot keep up holds a bounded number of them, then none: it is told to start
over by all there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias

from moreton.registry import (
    Instance,
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
    InstanceView,
)
from moreton.registry.core.documents import to_document

# What a reader may be behind. The words are shared, so that it costs a reader some kilobytes.
NOTICES_BEHIND_MAX = 256
# A comment now and then lets both ends of a quiet stream notice that the other is gone.
HEARTBEAT_SECONDS = 15.0
_STILL_HERE = b": still here\n\n"
_ALL = ""  # is no service's name
# Of so many services what is told to a new reader is kept until it changes.
_LISTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class NoticeStatistics:
    """Readers now; notices handed to a reader so far, and how often one was told to start over."""

    readers: int
    notices: int
    restarts: int


class _Reader:
    """What one reader has still to be told."""

    __slots__ = ("_asleep", "_waiting", "is_behind")

    def __init__(self) -> None:
        self._waiting: list[bytes] = []
        self._asleep: asyncio.Future[None] | None = None
        self.is_behind = True

    def add(self, words: bytes) -> None:
        if self.is_behind:
            return
        if len(self._waiting) >= NOTICES_BEHIND_MAX:
            self.lose()
            return
        self._waiting.append(words)
        self.wake()

    def lose(self) -> None:
        """It has missed something."""
        self._waiting.clear()
        self.is_behind = True
        self.wake()

    @property
    def has_some(self) -> bool:
        """Whether something is waiting."""
        return bool(self._waiting)

    def take(self) -> bytes:
        """The words of what is waiting."""
        words = b"".join(self._waiting)
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

    It is told of every change in order, when *view* has it, from which readers start.
    """

    def __init__(self, view: InstanceView) -> None:
        self._view = view
        self._revision = 0
        self._readers: dict[str, set[_Reader]] = {}
        self._lists: dict[str, tuple[int, str]] = {}
        self._is_closed = False
        self._notices = self._restarts = 0

    def statistics(self) -> NoticeStatistics:
        """Its numbers now."""
        readers = sum(map(len, self._readers.values()))
        return NoticeStatistics(readers, self._notices, self._restarts)

    def tell(self, change: InstanceChange) -> None:
        """Tell whom *change* concerns; costs nothing when there is nobody."""
        self._revision = change.revision
        # They are for those who come at once.
        self._lists.clear()
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
        data = json.dumps({"revision": change.revision, **document})
        words = _words(name, change.revision, data)
        for reader in concerned:
            reader.add(words)
        self._notices += len(concerned)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._is_closed = True
        for reader in self._all():
            reader.wake()

    async def stream(
        self,
        service: str | None = None,
        *,
        until: asyncio.Future[None] | None = None,
        cut_off: Callable[[], bool] = lambda: False,
    ) -> AsyncGenerator[bytes, None]:
        """The instances of *service*, or all, as text for the wire; the revision is the event id.

        All there is comes first, as one event `listed`; then `registered`, `updated`, `removed`,
        and `listed` again when something was missed. Ends when *until* is done, and when this node
        is *cut_off* from the store: another one may know more.
        """
        is_first = True
        with self._reading(service or _ALL) as reader:
            if until is not None:
                until.add_done_callback(lambda _: reader.wake())
            while not self._is_closed and not (until is not None and until.done()):
                if reader.is_behind:
                    if cut_off():
                        return
                    reader.is_behind = False
                    self._restarts += not is_first
                    is_first = False
                    yield self._listed(service)
                elif reader.has_some:
                    yield reader.take()
                elif not await reader.wait():
                    if cut_off():
                        return
                    yield _STILL_HERE

    def _listed(self, service: str | None) -> bytes:
        """Of those who come at once, as after a restart of this process, only one makes words."""
        if service is None:
            found = _instances(chain(*self._view.services().values()))
        else:
            version = self._view.version(service)
            kept_version, found = self._lists.get(service, (-1, ""))
            if kept_version != version:
                found = _instances(self._view.of(service))
                if len(self._lists) >= _LISTS_KEPT:
                    self._lists.clear()
                self._lists[service] = (version, found)
        data = f'{{"revision": {self._revision}, "instances": {found}}}'
        return _words("listed", self._revision, data)

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


def _instances(found: Iterable[Instance]) -> str:
    return json.dumps([to_document(each) for each in found])


def _words(name: str, revision: int, data: str) -> bytes:
    return f"event: {name}\nid: {revision}\ndata: {data}\n\n".encode()
