"""A ring of operating-system processes on this machine: to look at, to kill, to stop."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from moreton.election.ring.claims import AdvisoryClaims, Claims
from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.errors import RingError
from moreton.election.ring.core.frames import Decision, Timings
from moreton.election.ring.core.ring import Uid, check_unique
from moreton.election.ring.wire import from_decision, from_uid, to_decision, to_uid
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.quantities import format_duration

START_SECONDS = 60.0
AGREE_SECONDS = 60.0
_LINE_BYTES_MAX = 1024 * 1024
_PROGRAM = "moreton.election.ring.process"

Write = Callable[[Uid, int | None, str], Awaitable[None]]


class RingUndecided(RingError):
    """The living members did not come to follow one leader in time."""

    code = "ring-undecided"
    retry = RetryAdvice.AFTER

    def __init__(self, *, living: int, seconds: float, seen: str) -> None:
        super().__init__(
            f"{living} members did not agree on a leader within {seconds:g} s, {seen}: nobody may "
            "be taken for the leader; see whether the machine is overloaded, then try again"
        )


@dataclass(slots=True)
class MemberProcess:
    """One member's process as it is known here."""

    uid: Uid
    child: asyncio.subprocess.Process
    address: list[Any] = field(default_factory=list)
    decision: Decision | None = None
    is_stopped: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.child.returncode is None

    def tell(self, document: dict[str, Any]) -> None:
        """Send it a line; lost when it has ended."""
        if self.child.stdin is not None and self.is_alive:
            self.child.stdin.write(json.dumps(document).encode() + b"\n")


class RingProcesses:
    """*uids*, in clockwise order, each a process that listens on loopback.

    They claim in *claims*, which only this process talks to. *changed* is called after each
    decision of a member; *write* when a member wants to write as the leader, with its token.
    Raises `DuplicateUid`.
    """

    def __init__(
        self,
        name: str,
        uids: Sequence[Uid],
        *,
        claims: Claims | None = None,
        algorithm: Algorithm = Algorithm.LCR,
        timings: Timings | None = None,
        changed: Callable[[], None] | None = None,
        write: Write | None = None,
    ) -> None:
        check_unique(uids)
        self.members: dict[Uid, MemberProcess] = {}
        self._name = name
        self._uids = tuple(uids)
        self._claims = claims or AdvisoryClaims()
        self._algorithm = algorithm
        self._timings = timings or Timings()
        self._changed = changed or (lambda: None)
        self._write = write
        self._readers: list[asyncio.Task[None]] = []
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        """Start all, and let each begin an election."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await asyncio.gather(*(self._start(uid) for uid in self._uids))
                await self._wait(lambda: all(m.address for m in self.members.values()))
        except BaseException:
            await self._end()
            raise
        ring = [[from_uid(uid), *self.members[uid].address] for uid in self._uids]
        for member in self.members.values():
            member.tell({"ring": ring, "begin": True})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Kill all that are left."""
        await self._end()

    def living(self) -> list[MemberProcess]:
        """Those that have neither ended nor been stopped, in clockwise order."""
        members = [self.members[uid] for uid in self._uids]
        return [member for member in members if member.is_alive and not member.is_stopped]

    def agreed(self) -> Decision | None:
        """The decision that all living members follow, if its leader lives."""
        living = self.living()
        decisions = {member.decision for member in living}
        if len(decisions) != 1:
            return None
        decision = decisions.pop()
        is_led = decision is not None and decision.leader in {member.uid for member in living}
        return decision if is_led else None

    async def wait_agreed(self, *, seconds: float = AGREE_SECONDS) -> Decision:
        """Wait until `agreed`. Raises `RingUndecided`."""
        try:
            async with asyncio.timeout(seconds):
                await self._wait(lambda: self.agreed() is not None)
        except TimeoutError as error:
            seen = ", ".join(f"{m.uid}: {m.decision}" for m in self.living())
            raise RingUndecided(living=len(self.living()), seconds=seconds, seen=seen) from error
        decision = self.agreed()
        assert decision is not None
        return decision

    async def kill(self, uid: Uid) -> None:
        """End a member by SIGKILL."""
        member = self.members[uid]
        if member.is_alive:
            member.child.kill()
            await member.child.wait()
            self._tell_news()

    def stop(self, uid: Uid) -> None:
        """Stall a member by SIGSTOP: it neither runs nor ends."""
        self.members[uid].child.send_signal(signal.SIGSTOP)
        self.members[uid].is_stopped = True
        self._tell_news()

    def resume(self, uid: Uid) -> None:
        """Let a stalled member go on."""
        self.members[uid].child.send_signal(signal.SIGCONT)
        self.members[uid].is_stopped = False
        self._tell_news()

    async def _start(self, uid: Uid) -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _PROGRAM,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
        )
        member = self.members[uid] = MemberProcess(uid, child)
        self._readers.append(asyncio.create_task(self._listen(member)))
        timings = self._timings
        member.tell(
            {
                "name": self._name,
                "uid": from_uid(uid),
                "algorithm": self._algorithm,
                "heartbeat": format_duration(timings.heartbeat),
                "acknowledge": format_duration(timings.acknowledge),
                "election": format_duration(timings.election),
            }
        )

    async def _listen(self, member: MemberProcess) -> None:
        assert member.child.stdout is not None
        while line := await member.child.stdout.readline():
            await self._heard(member, json.loads(line))
        await member.child.wait()
        self._tell_news()

    async def _heard(self, member: MemberProcess, line: dict[str, Any]) -> None:
        match line:
            case {"address": address}:
                member.address = address
            case {"follows": decision}:
                member.decision = to_decision(decision)
            case {"claim": {"id": number, "leader": leader, "epoch": epoch}}:
                try:
                    holder = await self._claims.claim(to_uid(leader), epoch)
                except MoretonError:
                    return  # unanswered: the election is begun again in time
                member.tell({"claimed": number, "holder": from_decision(holder)})
            case {"write": {"token": token, "value": value}} if self._write is not None:
                await self._write(member.uid, token, value)
            case _:
                return
        self._tell_news()

    def _tell_news(self) -> None:
        self._news.set()
        self._changed()

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._news.clear()
            await self._news.wait()

    async def _end(self) -> None:
        for member in self.members.values():
            if member.is_alive:
                member.child.kill()
        await asyncio.gather(*(member.child.wait() for member in self.members.values()))
        await asyncio.gather(*self._readers, return_exceptions=True)
