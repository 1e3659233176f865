"""What a person decides about a saga, written into its log from outside a worker."""

from __future__ import annotations

from moreton.kernel.rng import Rng
from moreton.kernel.time import Instant
from moreton.transactions.saga.core.errors import DecisionRefused
from moreton.transactions.saga.core.events import Append, Status, Told
from moreton.transactions.saga.core.history import History
from moreton.transactions.saga.core.machine import SagaMachine
from moreton.transactions.saga.core.plan import Act, Plan
from moreton.transactions.saga.core.records import Decision, StepDone
from moreton.transactions.saga.core.rows import from_row, to_row
from moreton.transactions.saga.errors import SagaExists, SagaUnknown, SignalRefused
from moreton.transactions.saga.ledgers.port import Begin, Ledger, SagaRow

_TRIES_MAX = 5


def decide(
    ledger: Ledger, row: SagaRow, decision: Decision, note: str, *, plan: Plan, rng: Rng,
    now: Instant,
) -> None:  # fmt: skip
    """Write *decision*; a worker that has the saga is fenced off, another goes on by it.

    Raises `DecisionRefused` when it does not fit the state that the saga is in.
    """
    for _ in range(_TRIES_MAX):
        records = [from_row(one) for one in ledger.log(row.number)]
        started = Instant(row.started * 1000)
        machine = SagaMachine(plan, started=started, rng=rng, records=records)
        if decision is Decision.COMPENSATE and row.status == Status.COMPENSATED:
            raise DecisionRefused(decision=decision, why="everything of it is undone already")
        if row.status == Status.COMPLETED and not plan.can_be_undone:
            raise DecisionRefused(decision=decision, why="it completed, and cannot be undone")
        first = machine.handle(Told(decision, note), now)[0]
        assert isinstance(first, Append)
        rows = [to_row(first.record, now)]
        if ledger.interject(row, len(records), rows, Status.READY, 0):
            return
        found = ledger.at(row.number)
        if found is None:
            raise SagaUnknown(saga_id=row.id, where=ledger.where)
        row = found
    raise DecisionRefused(
        decision=decision, why="it changes faster than that could be written; try again"
    )


def tell(ledger: Ledger, row: SagaRow, name: str, value: str, *, plan: Plan) -> bool:
    """Keep the signal *name* with *value*, which is JSON; false when it had come as it is now.

    Raises `SignalRefused` for one that the saga does not wait for, or that came with another value.
    """

    def refused(why: str) -> SignalRefused:
        return SignalRefused(saga_id=row.id, signal=name, why=why)

    waits = [step.name for step in plan.steps if step.act is Act.SIGNAL]
    if name not in waits:
        raise refused(f"it waits for {', '.join(waits) or 'no signal at all'}")
    if Status(row.status).is_final:
        raise refused(f"it is {row.status} already")
    if ledger.signal(row.number, name, value):
        return True
    before = ledger.signalled(row.number, name)
    if before != value:
        raise refused(f"it came before, as {before}")
    return False


def fork(
    ledger: Ledger, row: SagaRow, step: str, new_id: str, *, plan: Plan, now: Instant
) -> Begin:
    """Begin a saga that goes on from before *step* with what *row* did until then.

    What it takes over is undone under the key of the first saga, should it go back; only one of the
    two should. Raises `DecisionRefused` when a step before *step* is not done, or `SagaExists`.
    """
    if step not in plan.index:
        raise DecisionRefused(
            decision=f'a fork from "{step}"',
            why=f"its steps are {', '.join(one.name for one in plan.steps)}",
        )
    history = History(plan)
    for one in ledger.log(row.number):
        history.apply(from_row(one))
    rows = [
        to_row(StepDone(name, history.results[name], history.origins.get(name, row.id)), now)
        for name in (plan.steps[i].name for i in history.kept_before(step))
    ]
    begin = Begin(
        new_id, row.name, row.version, row.input, now.nanos // 1000, Status.READY, 0, None,
        row.priority, rows=rows, queue=row.queue,
    )  # fmt: skip
    ledger.commit(begin)
    if begin.existed:
        raise SagaExists(saga_id=new_id, found="another saga")
    return begin
