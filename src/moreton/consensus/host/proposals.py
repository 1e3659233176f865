"""Commands on their way: batched, proposed again when they may be lost, given up when it is late.

A command is *waiting* until it is given to the core, then *under way* until it is applied here. If
the leader changes, or nothing is heard for long, it is given again: the sessions see to it that it
is applied once. One that the core refused has had no effect; of one given up, nobody knows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from moreton.consensus.core.messages import NodeId
from moreton.consensus.host.errors import CommandTooLarge, NoLeader, OutcomeUnknown, Overloaded
from moreton.consensus.host.replicated.commands import (
    COMMAND_OVERHEAD_BYTES,
    NUMBERS_APART_MAX,
    SessionId,
    decode_batch,
    encode_batch,
)
from moreton.consensus.host.settings import HostSettings
from moreton.kernel.time import Instant


@dataclass(slots=True, eq=False)
class _Proposal:
    number: int
    command: bytes
    answer: asyncio.Future[object]
    due: Instant  # when it is given up
    timeout: timedelta
    batch: _Batch | None = None  # under way in it
    tries: int = 0
    in_doubt: bool = False  # an earlier try may have had, or may still have, an effect


@dataclass(slots=True, eq=False)
class _Batch:
    left: int  # proposals in it that are not decided
    again: Instant  # when to give them again


class Proposals:
    """All commands proposed on this node that are not decided, by number."""

    def __init__(
        self, session: SessionId, *, settings: HostSettings, again_after: timedelta
    ) -> None:
        self._session = session
        self._settings = settings
        self._again_after = again_after
        self._loop = asyncio.get_running_loop()
        self._number = 0
        self._all: dict[int, _Proposal] = {}  # in ascending order
        self._waiting: deque[_Proposal] = deque()
        self._batches = 0  # under way
        self._why = "none is known"
        self._not_before = Instant(0)

    def __len__(self) -> int:
        return len(self._all)

    def add(self, command: bytes, *, now: Instant, timeout: timedelta) -> asyncio.Future[object]:
        """Take *command* in; what comes of it becomes the result."""
        settings = self._settings
        if len(command) > settings.command_bytes_max:
            raise CommandTooLarge(size=len(command), limit=settings.command_bytes_max)
        if len(self._all) >= settings.proposals_max:
            raise Overloaded(node=self._session[0], waiting=len(self._all), what="proposals")
        self._number += 1
        answer: asyncio.Future[object] = self._loop.create_future()
        proposal = _Proposal(self._number, command, answer, now + timeout, timeout)
        self._all[proposal.number] = proposal
        self._waiting.append(proposal)
        return answer

    def take(self, now: Instant) -> Iterator[bytes]:
        """What to give to the core now: entries' data, as many as may be under way."""
        while self._waiting and self._batches < self._settings.batches_max:
            if now < self._not_before:
                return
            data = self._take_batch(now)
            if data is not None:
                yield data

    def decide(self, number: int, result: object) -> None:
        """Command *number* was applied, with *result*."""
        proposal = self._all.pop(number, None)
        if proposal is None:
            return
        self._leave_batch(proposal)
        if not proposal.answer.done():
            proposal.answer.set_result(result)

    def miss(self, numbers: Iterable[int]) -> None:
        """Commands *numbers* were applied in a snapshot that was taken over: nobody knows how."""
        for number in numbers:
            proposal = self._all.get(number)
            if proposal is not None:
                proposal.in_doubt = True
                self._give_up(proposal)

    def refused(self, data: bytes, why: str, *, until: Instant) -> None:
        """The core did not take the entry *data*, which has had no effect: try after *until*."""
        self._why, self._not_before = why, until
        for number, _ in reversed(decode_batch(data).commands):
            proposal = self._all.get(number)
            if proposal is not None and proposal.batch is not None:
                self._leave_batch(proposal)
                self._waiting.appendleft(proposal)

    def give_again(self) -> None:
        """Another leader, or none: whatever is under way may be lost."""
        self._not_before = Instant(0)
        lost = [one for one in self._all.values() if one.batch is not None]
        for proposal in reversed(lost):
            self._return(proposal)

    def sweep(self, now: Instant) -> None:
        """Give up what is late, and give again what was under way for too long."""
        given_up = False
        for proposal in list(self._all.values()):
            if now >= proposal.due or proposal.answer.cancelled():
                self._give_up(proposal)
                given_up = True
            elif proposal.batch is not None and now >= proposal.batch.again:
                self._return(proposal)
        if given_up:
            self._waiting = deque(one for one in self._waiting if one.number in self._all)

    def fail_all(self, error: Exception) -> None:
        """The node has stopped."""
        for proposal in self._all.values():
            if not proposal.answer.done():
                proposal.answer.set_exception(error)
        self._all.clear()
        self._waiting.clear()

    def _take_batch(self, now: Instant) -> bytes | None:
        taken: list[_Proposal] = []
        room = self._settings.batch_bytes_max
        if not self._all:
            # What waits to be given again was decided meanwhile: the first try had come through.
            self._waiting.clear()
            return None
        oldest = next(iter(self._all))
        while self._waiting:
            proposal = self._waiting[0]
            room -= len(proposal.command) + COMMAND_OVERHEAD_BYTES
            if taken and (room < 0 or len(taken) >= self._settings.batch_commands_max):
                break
            self._waiting.popleft()
            if proposal.answer.cancelled() and not proposal.in_doubt:
                self._all.pop(proposal.number, None)
            elif proposal.number in self._all and proposal.number - oldest <= NUMBERS_APART_MAX:
                taken.append(proposal)
        if not taken:
            return None
        tries = max(one.tries for one in taken)
        batch = _Batch(len(taken), now + self._again_after * 2 ** min(tries, 5))
        for proposal in taken:
            proposal.batch = batch
            proposal.tries += 1
        self._batches += 1
        return encode_batch(self._session, oldest, [(one.number, one.command) for one in taken])

    def _leave_batch(self, proposal: _Proposal) -> None:
        batch, proposal.batch = proposal.batch, None
        if batch is not None:
            batch.left -= 1
            if not batch.left:
                self._batches -= 1

    def _return(self, proposal: _Proposal) -> None:
        self._leave_batch(proposal)
        proposal.in_doubt = True
        self._waiting.appendleft(proposal)

    def _give_up(self, proposal: _Proposal) -> None:
        del self._all[proposal.number]
        node = self._session[0]
        unknown = proposal.in_doubt or proposal.batch is not None
        self._leave_batch(proposal)
        if proposal.answer.done():
            return
        if unknown:
            error: Exception = OutcomeUnknown(node=node, what="a proposal", waited=proposal.timeout)
        else:
            error = NoLeader(node=node, waited=proposal.timeout, why=self._why)
        proposal.answer.set_exception(error)


def describe(refusal: str, leader: NodeId | None) -> str:
    """A refusal of the core in a sentence."""
    return f"the last answer was {refusal!r}, the leader known is {leader or 'none'}"
