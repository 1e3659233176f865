"""Reads that wait until this node has everything that was acknowledged before them.

All that come in one turn of the event loop share one question to the core.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from struct import Struct

from moreton.consensus.core.messages import NodeId
from moreton.consensus.host.errors import NoLeader, Overloaded
from moreton.consensus.host.settings import HostSettings
from moreton.kernel.time import Instant

# A context: the nonce of this boot, so that no answer to an earlier one is taken; a number.
_CONTEXT = Struct("<QQ")
# Questions under way at once; reads that come meanwhile share the next.
QUESTIONS_MAX = 4


@dataclass(slots=True, eq=False)
class _Read:
    done: asyncio.Future[None]
    due: Instant
    timeout: timedelta


@dataclass(slots=True, eq=False)
class _Question:
    reads: list[_Read]
    again: Instant
    index: int | None = None  # answered: wait until it is applied


class Reads:
    """All reads of this node that are not answered."""

    def __init__(
        self, node: NodeId, nonce: int, *, settings: HostSettings, again_after: timedelta
    ) -> None:
        self._node = node
        self._nonce = nonce
        self._settings = settings
        self._again_after = again_after
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._waiting: deque[_Read] = deque()
        self._questions: dict[bytes, _Question] = {}
        self._count = 0
        self._why = "none is known"
        self._not_before = Instant(0)

    def __len__(self) -> int:
        return self._count

    def add(self, *, now: Instant, timeout: timedelta) -> asyncio.Future[None]:
        """A read that comes now; done when it may be answered from what is applied here."""
        if self._count >= self._settings.reads_max:
            raise Overloaded(node=self._node, waiting=self._count, what="reads")
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(_Read(done, now + timeout, timeout))
        self._count += 1
        return done

    def take(self, now: Instant) -> Iterator[bytes]:
        """The contexts to ask the core about now."""
        asked = sum(one.index is None for one in self._questions.values())
        if self._waiting and asked < QUESTIONS_MAX and now >= self._not_before:
            self._number += 1
            context = _CONTEXT.pack(self._nonce, self._number)
            again = now + self._again_after
            self._questions[context] = _Question(list(self._waiting), again)
            self._waiting.clear()
            yield context

    def answered(self, context: bytes, index: int, *, applied: int) -> None:
        """The core answered: all is here once *index* is applied."""
        question = self._questions.get(context)
        if question is not None:
            question.index = index
            self.applied(applied)

    def applied(self, applied: int) -> None:
        """The machine is at *applied*."""
        ready = [
            context
            for context, one in self._questions.items()
            if one.index is not None and one.index <= applied
        ]
        for context in ready:
            for read in self._questions.pop(context).reads:
                self._count -= 1
                if not read.done.done():
                    read.done.set_result(None)

    def refused(self, context: bytes, why: str, *, until: Instant) -> None:
        """The core did not take the question: ask again after *until*."""
        self._why, self._not_before = why, until
        self._return(context)

    def give_again(self) -> None:
        """Another leader, or none: questions under way may be lost."""
        self._not_before = Instant(0)
        for context in [c for c, one in self._questions.items() if one.index is None]:
            self._return(context)

    def sweep(self, now: Instant) -> None:
        """Give up what is late, and ask again what was not answered for long."""
        for context, question in list(self._questions.items()):
            if question.index is None and now >= question.again:
                self._return(context)  # its reads wait again: they are looked at below
            else:
                question.reads = self._keep(question.reads, now)
        self._waiting = deque(self._keep(self._waiting, now))

    def fail_all(self, error: Exception) -> None:
        """The node has stopped."""
        for question in self._questions.values():
            self._waiting.extend(question.reads)
        for read in self._waiting:
            if not read.done.done():
                read.done.set_exception(error)
        self._questions.clear()
        self._waiting.clear()
        self._count = 0

    def _return(self, context: bytes) -> None:
        question = self._questions.pop(context, None)
        if question is not None:
            self._waiting.extendleft(reversed(question.reads))

    def _keep(self, reads: deque[_Read] | list[_Read], now: Instant) -> list[_Read]:
        kept = []
        for read in reads:
            if read.done.done():
                self._count -= 1
            elif now >= read.due:
                self._count -= 1
                error = NoLeader(node=self._node, waited=read.timeout, why=self._why)
                read.done.set_exception(error)
            else:
                kept.append(read)
        return kept
