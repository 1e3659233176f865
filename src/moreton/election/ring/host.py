"""Runs one member for real: TCP, a clock, and a claim in the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Self, assert_never, cast

from moreton.election.ring.claims import AdvisoryClaims, Claims
from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.frames import (
    Arrived,
    Begin,
    Claim,
    Claimed,
    Decision,
    Follow,
    Frame,
    MemberEffect,
    MemberEvent,
    Timings,
    Transmit,
)
from moreton.election.ring.core.member import Member
from moreton.election.ring.core.ring import Uid
from moreton.election.ring.links import Address, Links
from moreton.kernel.errors import MoretonError
from moreton.kernel.host import InboxFull, MachineHost
from moreton.kernel.rng import Rng, system_rng

LOOPBACK = Address("127.0.0.1", 0)
_CANCEL_SECONDS = 0.05


class RingMember:
    """One member of the ring *name*, in this process.

        async with RingMember("jobs", Uid(7), claims=StoreClaims(store, "jobs")) as member:
            member.join({Uid(3): Address("10.0.0.3", 7000), Uid(7): member.address, ...})
            decision = await member.wait_decided()

    *on_follow* is called with each decision that comes into force: when it names another leader,
    stop at once what only the leader may do. Without *claims* decisions are advisory.
    """

    def __init__(
        self,
        name: str,
        uid: Uid,
        *,
        claims: Claims | None = None,
        algorithm: Algorithm = Algorithm.LCR,
        timings: Timings | None = None,
        listen: Address = LOOPBACK,
        on_follow: Callable[[Decision], None] | None = None,
        rng: Rng | None = None,
    ) -> None:
        self.uid = uid
        self.address = listen
        self._claims = claims or AdvisoryClaims()
        self._algorithm = algorithm
        self._timings = timings
        self._on_follow = on_follow or (lambda _: None)
        self._rng = rng or cast("Rng", system_rng())
        self._links = Links(name, uid, self._arrived)
        self._member: Member | None = None
        self._host: MachineHost[MemberEvent, MemberEffect] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._decided = asyncio.Condition()

    async def __aenter__(self) -> Self:
        """Listen; *address* then says where."""
        self.address = await self._links.listen(self.address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave without a word, as a crash would: the others notice."""
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            # Again and again: `wait_for` of Python 3.11 forgets a cancellation that comes
            # together with what it waits for.
            _, pending = await asyncio.wait(pending, timeout=_CANCEL_SECONDS)
        await self._links.close()

    @property
    def decision(self) -> Decision | None:
        """The newest decision that this member knows; `None` while an election is under way."""
        member = self._member
        return member.decision if member is not None and member.is_settled else None

    @property
    def is_leader(self) -> bool:
        """Whether this member leads as far as it knows; the token tells for certain."""
        return self._member is not None and self._member.is_leader

    def join(self, members: Mapping[Uid, Address], *, begin: bool = True) -> None:
        """Take part in the ring of *members*, in clockwise order, this one among them.

        With *begin* it begins an election unless it learns of a leader. Raises `DuplicateUid`,
        `NotAMember`.
        """
        self._links.know(members)
        timings, algorithm = self._timings, self._algorithm
        self._member = Member(
            self.uid, list(members), rng=self._rng, algorithm=algorithm, timings=timings
        )
        self._host = MachineHost(self._member, self._perform)
        self._spawn(self._host.run())
        if begin:
            self._host.tell_nowait(Begin())

    async def wait_decided(self, *, after_epoch: int = 0) -> Decision:
        """The decision in force, as soon as there is one of an epoch above *after_epoch*."""
        async with self._decided:
            await self._decided.wait_for(lambda: self._newer_than(after_epoch))
        assert self.decision is not None
        return self.decision

    def _newer_than(self, epoch: int) -> bool:
        return self.decision is not None and self.decision.epoch > epoch

    def _arrived(self, source: Uid, frame: Frame) -> None:
        if self._host is not None:
            # A frame too many is a frame lost, which the ring can take.
            with contextlib.suppress(InboxFull):
                self._host.tell_nowait(Arrived(source, frame))

    async def _perform(self, effect: MemberEffect) -> None:
        match effect:
            case Transmit(target=target, frame=frame):
                self._links.send_nowait(target, frame)
            case Claim(epoch=epoch):
                self._spawn(self._claim(epoch))
            case Follow(decision=decision):
                self._on_follow(decision)
                async with self._decided:
                    self._decided.notify_all()
            case _:
                assert_never(effect)

    async def _claim(self, epoch: int) -> None:
        assert self._host is not None
        # A store that does not answer leaves the election open: it is begun again in time.
        with contextlib.suppress(MoretonError, OSError):
            holder = await self._claims.claim(self.uid, epoch)
            await self._host.tell(Claimed(epoch, holder))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
