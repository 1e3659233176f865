"""Many writers, one wait for the disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar

WriteT = TypeVar("WriteT")
# What one commit carries at most.
GROUP_WRITES_MAX = 512


class _Item(Generic[WriteT]):
    __slots__ = ("done", "error", "write")

    def __init__(self, write: WriteT) -> None:
        self.write = write
        self.done = False
        self.error: Exception | None = None


class GroupCommit(Generic[WriteT]):
    """Whoever comes first commits for all that wait by then; the others find theirs done.

    No thread of its own: a lone writer commits in its own thread, without a hand-over.
    """

    def __init__(self, write_all: Callable[[Sequence[WriteT]], None]) -> None:
        self.lock = Lock()  # held while the connection is used; others may take it in between
        self._write_all = write_all
        self._queue: deque[_Item[WriteT]] = deque()
        self.commits = 0

    def commit(self, write: WriteT) -> None:
        """Return once *write* is durable; raises what writing it raised."""
        item = _Item(write)
        self._queue.append(item)
        while not item.done:
            with self.lock:
                if not item.done:
                    self._lead()
        if item.error is not None:
            raise item.error

    def commit_all(self, writes: Sequence[WriteT]) -> None:
        """As `commit`, for several at once; raises the first error."""
        items = [_Item(write) for write in writes]
        self._queue.extend(items)
        for item in items:
            while not item.done:
                with self.lock:
                    if not item.done:
                        self._lead()
        for item in items:
            if item.error is not None:
                raise item.error

    def _lead(self) -> None:
        group: list[_Item[WriteT]] = []
        while self._queue and len(group) < GROUP_WRITES_MAX:
            group.append(self._queue.popleft())
        error: Exception | None = None
        try:
            self._write_all([item.write for item in group])
        except Exception as raised:  # noqa: BLE001 - it is raised where each was asked for
            error = raised
        except BaseException:
            # Who leads is told to end; the others wait, and one of them leads. What was written
            # all the same shows then: its rows are there.
            self._queue.extendleft(reversed(group))
            raise
        self.commits += 1
        for item in group:
            item.error = error
            item.done = True
