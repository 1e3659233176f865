"""A watch's stream: bytes to lines, lines to whole revisions, each once and in order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from moreton.store.core.model import WatchBatch, WatchEvent
from moreton.store.etcd.core.messages import Document, Messages, number

# etcd sends no fragment above --max-request-bytes and a half MiB; but an event with what was
# there before may be twice as large, base 64 makes four bytes of three, and limits are raised.
LINE_BYTES_MAX = 64 * 1024 * 1024


class LineTooLong(Exception):
    """More bytes without a line's end than any etcd sends."""


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def take(self, data: bytes) -> Iterator[bytes]:
        """The lines that *data* ends. Raises `LineTooLong`."""
        *ended, rest = data.split(b"\n")
        for line in ended:
            whole = b"".join([*self._parts, line])
            self._parts, self._size = [], 0
            if whole.strip():
                yield whole
        self._parts.append(rest)
        self._size += len(rest)
        if self._size > LINE_BYTES_MAX:
            raise LineTooLong


class Assembly:
    """Where a watch is: what it wants next, and the part of a revision that it has so far."""

    def __init__(self, messages: Messages, next_revision: int) -> None:
        self.next_revision = next_revision
        self._messages = messages
        self._parts: list[WatchEvent] = []

    def restart(self) -> None:
        """The stream broke: the next one begins at `next_revision`, with whole revisions."""
        self._parts.clear()

    def take(self, result: Document) -> list[WatchBatch]:
        """The revisions that *result* makes whole.

        What lies below `next_revision` is dropped: a member that lags behind sends older events
        to a watch of a revision that it has not reached (etcd#20221), and some versions repeat
        events after a restart (etcd#17247).
        """
        events = [self._messages.event(event) for event in result.get("events", ())]
        if not (events or self._parts or result.get("fragment") or result.get("created")):
            # Progress: everything up to here was sent.
            told = number(result.get("header", {}), "revision") + 1
            self.next_revision = max(self.next_revision, told)
        self._parts += [each for each in events if each.kv.mod_revision >= self.next_revision]
        groups = [
            WatchBatch(revision, tuple(part))
            for revision, part in groupby(self._parts, key=lambda event: event.kv.mod_revision)
        ]
        # The newest revision of a fragment may go on in the next one.
        self._parts = list(groups.pop().events) if groups and result.get("fragment") else []
        if groups:
            self.next_revision = groups[-1].revision + 1
        return groups
