"""A saga while a worker has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.resilience.layers.retry import Retry
from moreton.transactions.saga.codec import PAYLOAD_BYTES_MAX, plain
from moreton.transactions.saga.core.events import (
    Append,
    Attempt,
    Await,
    Effect,
    Event,
    Failed,
    Failure,
    Rest,
    Succeeded,
    Undid,
    Undo,
)
from moreton.transactions.saga.core.machine import SagaMachine
from moreton.transactions.saga.core.records import Migrated, Record
from moreton.transactions.saga.core.rows import LogRow, to_row
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.errors import NotSerialisable, PayloadTooLarge
from moreton.transactions.saga.ledgers.port import Advance, Settle
from moreton.transactions.saga.running import Run
from moreton.transactions.saga.waits import Child

_ERROR_CHARS_MAX = 2000


@dataclass(slots=True)
class Turn:
    """What one event led to: first make *rows* durable, then call, wait or rest."""

    rows: list[LogRow] = field(default_factory=list)
    calls: list[Attempt | Undo] = field(default_factory=list)
    awaits: list[Await] = field(default_factory=list)
    rest: Rest | None = None


class Job:
    """Its machine, and where its log stands."""

    __slots__ = (
        "_input", "_locked", "_value", "awaits", "deferred", "epoch", "events", "flying", "id",
        "machine", "number", "parent", "payload_bytes_max", "saga", "seq",
    )  # fmt: skip

    def __init__(
        self, saga: Saga, saga_id: str, text: str, *, started: Instant, rng: Rng,
        records: Sequence[Record] = (), number: int = 0, epoch: int = 1,
        parent: int | None = None, payload_bytes_max: int = PAYLOAD_BYTES_MAX,
    ) -> None:  # fmt: skip
        self.saga, self.id, self.parent = saga, saga_id, parent
        self.number, self.epoch = number, epoch
        self.machine = SagaMachine(saga.plan, started=started, rng=rng, records=records)
        self.seq = len(records)
        self.flying = 0
        self.awaits: dict[str, Await] = {}
        self.deferred: list[str] = []  # signals that say that an undo ended elsewhere
        self.events: SimpleQueue[Event | None] = SimpleQueue()  # of branches
        self.payload_bytes_max = payload_bytes_max
        self._input = text
        self._value: Any = None
        # The version that it began with may have had locks.
        self._locked = saga.locks is not None or any(isinstance(r, Migrated) for r in records)

    def take(self, effects: Iterable[Effect], now: Instant) -> Turn:
        """*effects*, sorted by what a host does with them."""
        turn = Turn()
        for effect in effects:
            if isinstance(effect, Append):
                turn.rows.append(to_row(effect.record, now))
            elif isinstance(effect, Await):
                turn.awaits.append(effect)
            elif isinstance(effect, Rest):
                turn.rest = effect
            else:
                turn.calls.append(effect)
        return turn

    def advance(self, turn: Turn, now: Instant) -> Advance | None:
        """What makes *turn* durable; `None` when there is nothing."""
        settle = None
        if turn.rest is not None:
            settle = self.settle(turn.rest, now)
        if not turn.rows and settle is None:
            return None
        made = Advance(self.number, self.epoch, self.seq, turn.rows, settle)
        self.seq += len(turn.rows)
        return made

    def settle(self, rest: Rest, now: Instant) -> Settle:
        """How the saga is left when it ended or is parked."""
        final = rest.status.is_final
        return Settle(
            rest.status,
            None,
            rest.reason,
            ended=now.nanos // 1000 if final else None,
            parent=self.parent if final else None,
            signal=f"{self.id}={rest.status}",
            locked=self._locked,
        )

    def run(self, call: Attempt | Undo) -> Run[Any]:
        """What the function of *call* is handed."""
        if self._value is None:
            self._value = self.saga.codec.decode(self._input)
        op = "undo" if isinstance(call, Undo) else "do"
        return Run(
            self.saga, self.id, self._value, self.machine.history.results,
            step=call.step, op=op, attempt=call.number,
            origin=self.machine.history.origins.get(call.step, ""),
        )  # fmt: skip

    def input_for(self, step: Child, attempt: int) -> object:
        """What a child begins with."""
        if step.input_of is None:
            return self.saga.codec.decode(self._input)
        return step.input_of(self.run(Attempt(step.name, attempt + 1, None)))

    def succeeded(self, call: Attempt | Undo, value: object) -> Event:
        """The event of a call that returned *value*."""
        if isinstance(call, Undo):
            return Undid(call.step)
        what = f'what step "{call.step}" returned'
        codec = self.saga.steps[call.step].codec
        try:
            text = codec.encode(what, value, bytes_max=self.payload_bytes_max)
        except (NotSerialisable, PayloadTooLarge) as error:
            # It acted, and would return the same again.
            return Failed(call.step, str(error), Failure.FINAL)
        return Succeeded(call.step, text)

    def failed(self, call: Attempt | Undo, error: BaseException) -> Event:
        """The event of a call that raised *error*."""
        step = self.saga.steps[call.step]
        said = plain(str(error))[:_ERROR_CHARS_MAX]
        text = f"{type(error).__name__}: {said}"
        undoing = isinstance(call, Undo)
        if not undoing and step.declines(error):
            return Failed(call.step, said or text, Failure.DECLINED)
        retry: Retry | None = step.undo_retry if undoing else step.retry
        again = retry is not None and retry.covers(error)
        return Failed(call.step, text, Failure.TRANSIENT if again else Failure.FINAL)
