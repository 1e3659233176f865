"""Runs TCC transactions: the machine decides, this asks participants and writes the log."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from threading import Event as Flag
from typing import Any

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.resilience.core.backoff import Backoff
from moreton.transactions import tracing
from moreton.transactions.barrier.call import Act, Call, check_name
from moreton.transactions.databases import open_database
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.tcc import watching
from moreton.transactions.tcc.core.machine import (
    Answered,
    Ask,
    Decide,
    Decided,
    Effect,
    End,
    Event,
    Note,
    Reply,
    State,
    Tcc,
)
from moreton.transactions.tcc.errors import Refused, TransactionIdTaken, UnknownParticipant
from moreton.transactions.tcc.log import Record, TccLog

Participant = Callable[[Call], Any]
EXPIRES_IN = timedelta(seconds=30)
# A process that is at a transaction is left alone for so long before others take it up.
LEASE = timedelta(seconds=30)
BRANCHES_MAX = 100
CALLS_AT_ONCE_MAX = 32
_CLAIMED_AT_ONCE = 32
_RECOVERED_AT_ONCE = 4
_EVERY = timedelta(seconds=1)
_AGAIN = Backoff(initial=timedelta(milliseconds=500), cap=timedelta(minutes=1))
_LOG = logging.getLogger("moreton.transactions")

_ask = Failpoint("tcc.ask")
_answered = Failpoint("tcc.answered")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a transaction ended: true when it is confirmed, for good.

    *pending* branches did not answer yet; they are asked again by `recover`.
    """

    transaction_id: str
    state: State
    pending: Sequence[str] = ()
    trouble: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether it was decided to confirm."""
        return self.state in {State.CONFIRMING, State.CONFIRMED}

    @property
    def why(self) -> str:
        """What went wrong, branch by branch."""
        return "; ".join(f"{name}: {text}" if name else text for name, text in self.trouble.items())


def open_log(url: str, *, clock: Clock | None = None) -> TccLog:
    """The log in the database at *url*: `sqlite:///file`, `postgresql://…`."""
    return TccLog(open_database(url), clock=clock)


class Coordinator:
    """Transactions between *participants*, by name: functions that are given a `Call`.

    A participant returns when it has done what the call says, raises `Refused` if it will not, and
    asks the barrier of its own database, as calls are repeated and overtake each other. It may be a
    coroutine function where `run_async` and `recover_async` are used. Many coordinators may have
    one log. Let one of them `recover` now and then, or `serve`, and always after a start.
    """

    def __init__(
        self,
        log: TccLog,
        participants: Mapping[str, Participant],
        *,
        expires_in: timedelta = EXPIRES_IN,
        lease: timedelta = LEASE,
        clock: Clock | None = None,
    ) -> None:
        check_kind("log", log, TccLog, "the log of open_log('sqlite:///file')")
        check_duration("expires_in", expires_in)
        check_duration("lease", lease)
        for name, participant in participants.items():
            check_name("a participant's name", name)
            if not callable(participant):
                raise TypeError(f"participant {name!r} is {participant!r}: give a function")
        self._log = log
        self._participants = dict(participants)
        self._expires_in = expires_in
        self._lease = lease
        self._clock = clock or SystemClock()
        self._rng = system_rng()
        self._stopping = Flag()
        self._closed = False
        self._pool = ThreadPoolExecutor(CALLS_AT_ONCE_MAX, "moreton-tcc")

    def run(self, payloads: Mapping[str, Any], *, transaction_id: str | None = None) -> Outcome:
        """Try the branches that *payloads* names, all at once; confirm them, or undo them.

        With the *transaction_id* of an earlier run it is that one's outcome, and nothing is tried.
        """
        began = self._begin(payloads, transaction_id)
        return began if isinstance(began, Outcome) else self._drive(*began)

    async def run_async(
        self, payloads: Mapping[str, Any], *, transaction_id: str | None = None
    ) -> Outcome:
        """As `run`."""
        began = await asyncio.to_thread(self._begin, payloads, transaction_id)
        return began if isinstance(began, Outcome) else await self._drive_async(*began)

    def recover(self) -> list[Outcome]:
        """Go on with every transaction that is due and nobody is at; how each stands now."""
        claimed = self._log.claim(_CLAIMED_AT_ONCE, self._lease)
        with ThreadPoolExecutor(_RECOVERED_AT_ONCE, "moreton-tcc-recovery") as pool:
            return list(pool.map(lambda one: self._drive(self._machine(one), one), claimed))

    async def recover_async(self) -> list[Outcome]:
        """As `recover`."""
        claimed = await asyncio.to_thread(self._log.claim, _CLAIMED_AT_ONCE, self._lease)
        driven = (self._drive_async(self._machine(one), one) for one in claimed)
        return list(await asyncio.gather(*driven))

    def serve(self, every: timedelta = _EVERY) -> None:
        """Recover again and again, until `stop`; a fault is logged, and the next round tried."""
        check_duration("every", every)
        while not self._stopping.wait(every.total_seconds()):
            try:
                self.recover()
            except Exception:  # noqa: BLE001 - a fault of one round must not end all
                _LOG.exception("unfinished transactions could not be looked at: trying again")

    def stop(self) -> None:
        """End `serve` after the round under way."""
        self._stopping.set()

    def close(self) -> None:
        """End `serve`, and the threads once the participants that are asked have answered.

        What is under way is left as it stands, and is gone on with by who recovers it. The log
        stays open. May be called again.
        """
        self._closed = True
        self.stop()
        self._pool.shutdown()

    def _begin(
        self, payloads: Mapping[str, Any], transaction_id: str | None
    ) -> Outcome | tuple[Tcc, Record]:
        if self._closed:
            raise RuntimeError("the coordinator is closed: nothing is tried; make another one")
        check_whole("the number of branches", len(payloads), 1, BRANCHES_MAX)
        for branch in payloads:
            self._participant(branch)
        if transaction_id is None:
            transaction_id = new_id(self._clock.wall(), self._rng)
        check_name("transaction_id", transaction_id)
        earlier = self._log.begin(transaction_id, payloads, self._expires_in)
        if earlier is not None:
            if dict(earlier.branches) != dict(payloads):
                raise TransactionIdTaken(transaction_id=transaction_id)
            return _outcome(earlier)
        now = self._log.now_ms()
        expires = now + self._expires_in // timedelta(milliseconds=1)
        record = Record(
            transaction_id, State.TRYING, dict(payloads), tuple(payloads), {}, 0, now, expires
        )
        return self._machine(record), record

    def _machine(self, record: Record) -> Tcc:
        left = timedelta(milliseconds=record.expires_ms - self._log.now_ms())
        return Tcc(
            record.branches,
            self._clock.now() + left,
            state=record.state,
            pending=record.pending,
        )

    def _drive(self, machine: Tcc, record: Record) -> Outcome:
        """Take *machine* to its end, or as far as it gets without waiting for a participant."""
        with watching.driven(record) as found:
            found.append(self._driven(machine, record))
        outcome: Outcome = found[0]
        return outcome

    def _driven(self, machine: Tcc, record: Record) -> Outcome:
        under_way: set[Future[Answered]] = set()
        effects = list(machine.start(self._clock.now()))
        while effects or under_way:
            while effects:
                effect = effects.pop(0)
                if isinstance(effect, Ask):
                    calls = [self._call(effect, name, record) for name in effect.branches]
                    asked = [tracing.in_context(partial(self._ask, call)) for call in calls]
                    under_way |= {self._pool.submit(one) for one in asked}
                else:
                    effects += self._perform(machine, record, effect)
            if machine.is_at_rest or not under_way:
                # Those that still try will find that they are too late.
                break
            done, under_way = wait(under_way, self._patience(machine), FIRST_COMPLETED)
            effects += [e for one in done for e in self._handle(machine, one.result())]
            effects += machine.wake(self._clock.now())
        return _standing(machine, record)

    async def _drive_async(self, machine: Tcc, record: Record) -> Outcome:
        with watching.driven(record) as found:
            found.append(await self._driven_async(machine, record))
        outcome: Outcome = found[0]
        return outcome

    async def _driven_async(self, machine: Tcc, record: Record) -> Outcome:
        under_way: set[asyncio.Task[Answered]] = set()
        try:
            effects = list(machine.start(self._clock.now()))
            while effects or under_way:
                while effects:
                    effect = effects.pop(0)
                    if isinstance(effect, Ask):
                        calls = [self._call(effect, name, record) for name in effect.branches]
                        under_way |= {asyncio.create_task(self._ask_async(one)) for one in calls}
                    else:
                        effects += await asyncio.to_thread(self._perform, machine, record, effect)
                if machine.is_at_rest or not under_way:
                    break
                done, under_way = await asyncio.wait(
                    under_way, timeout=self._patience(machine), return_when="FIRST_COMPLETED"
                )
                effects += [e for one in done for e in self._handle(machine, one.result())]
                effects += machine.wake(self._clock.now())
        finally:
            for task in under_way:
                task.cancel()
        return _standing(machine, record)

    def _patience(self, machine: Tcc) -> float | None:
        deadline = machine.deadline()
        if deadline is None:
            return None
        return max(0.0, (deadline - self._clock.now()).total_seconds())

    def _handle(self, machine: Tcc, event: Event) -> Sequence[Effect]:
        return machine.handle(event, self._clock.now())

    def _perform(self, machine: Tcc, record: Record, effect: Effect) -> Sequence[Effect]:
        name = record.transaction_id
        match effect:
            case Decide(wanted):
                decided = self._log.decide(name, wanted, self._lease)
                return self._handle(machine, Decided(decided))
            case Note(pending, trouble):
                wait_for = _AGAIN.next_delay(record.attempts + 1, self._rng)
                self._log.note(name, pending, trouble, wait_for)
            case End(state):
                self._log.end(name, state, machine.reasons)
        return ()

    def _call(self, ask: Ask, branch: str, record: Record) -> Call:
        payload = record.branches[branch]
        return Call(record.transaction_id, branch, ask.act, payload)

    def _ask(self, call: Call) -> Answered:
        _ask()
        try:
            with watching.asking(call):
                answer = self._participant(call.branch)(watching.headed(call))
                _check_is_answer(answer)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the participant's answer
            return _failed(call, error)
        _answered()
        return watching.replied(Answered(call.branch, call.act, Reply.DONE))

    async def _ask_async(self, call: Call) -> Answered:
        _ask()
        try:
            participant = self._participant(call.branch)
            with watching.asking(call):
                if inspect.iscoroutinefunction(participant):
                    await participant(watching.headed(call))
                else:
                    answer = await asyncio.to_thread(participant, watching.headed(call))
                    if inspect.isawaitable(answer):
                        await answer
        except Exception as error:  # noqa: BLE001 - as above
            return _failed(call, error)
        _answered()
        return watching.replied(Answered(call.branch, call.act, Reply.DONE))

    def _participant(self, branch: str) -> Participant:
        participant = self._participants.get(branch)
        if participant is None:
            known = ", ".join(sorted(self._participants)) or "none"
            raise UnknownParticipant(branch=branch, known=known)
        return participant


def _failed(call: Call, error: Exception) -> Answered:
    if isinstance(error, Refused) and call.act is Act.DO:
        return watching.replied(Answered(call.branch, call.act, Reply.REFUSED, error.reason))
    why = f"{type(error).__name__}: {error}"
    if call.act is not Act.DO:
        _LOG.warning(
            "branch %s of transaction %s did not %s, %s: it is asked again",
            call.branch, call.transaction_id, call.act, why,
        )  # fmt: skip
    return watching.replied(Answered(call.branch, call.act, Reply.UNKNOWN, why))


def _check_is_answer(answer: object) -> None:
    if not inspect.isawaitable(answer):
        return
    if inspect.iscoroutine(answer):
        answer.close()
    raise TypeError("it is a coroutine function: use run_async and recover_async")


def _standing(machine: Tcc, record: Record) -> Outcome:
    pending = () if machine.state.is_final else machine.pending
    trouble = {**machine.reasons, **machine.trouble}
    return Outcome(record.transaction_id, machine.state, pending, trouble)


def _outcome(record: Record) -> Outcome:
    pending = () if record.state.is_final else record.pending
    return Outcome(record.transaction_id, record.state, pending, dict(record.trouble))
