"""Sagas that move money between accounts of a database; a process that works on them and may die.

Each effect is kept under its key in the same transaction as the money that it moves, so that it
happens once; an undo leaves a mark behind, so that what comes after it does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from moreton.resilience import Backoff, Retry
from moreton.transactions import failpoints
from moreton.transactions.saga import (
    Child,
    Declined,
    Pause,
    Run,
    Saga,
    Sagas,
    Signal,
    Status,
    parallel,
    pivot,
    retriable,
    step,
)
from moreton.transactions.saga.errors import DecisionRefused, SagaExists, SagaUnknown
from moreton.transactions.saga.ledgers import postgres, sqlite  # noqa: F401 - their failpoints
from moreton.transactions.saga.queues import Queue
from moreton.transactions.saga.schedules import Every, Schedule, firing
from moreton.transactions.saga.schedules.timetable import Timetable
from support import saga_queues
from support.forking import serve

Transfer = dict[str, Any]
TOTAL = 3_000_000
QUICK = Retry(
    attempts=3,
    on=Exception,
    idempotent=True,
    budget=None,
    backoff=Backoff.constant(timedelta(milliseconds=1)),
)
SECONDS_MAX = 30
ONE = Queue("one", at_once=1, rate="1000/min")


class World:
    """Accounts, and the effects that are in force."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def make(self) -> None:
        with self._db() as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("CREATE TABLE accounts (name TEXT PRIMARY KEY, money INTEGER)")
            db.execute("CREATE TABLE effects (key TEXT PRIMARY KEY, state TEXT, times INTEGER)")
            for name in ("anna", "ben", "cleo"):
                db.execute("INSERT INTO accounts VALUES (?, ?)", (name, TOTAL // 3))

    def do(self, key: str, source: str, target: str) -> None:
        """Move one coin, once, and not after it was undone."""
        with self._db() as db:
            new = db.execute("INSERT OR IGNORE INTO effects VALUES (?, 'done', 1)", (key,))
            if new.rowcount:
                self._move(db, source, target)

    def undo(self, key: str, source: str, target: str) -> None:
        """Move it back, if it was moved."""
        with self._db() as db:
            db.execute("INSERT OR IGNORE INTO effects VALUES (?, 'never', 0)", (key,))
            found = db.execute(
                "UPDATE effects SET state = 'undone', times = times + 1"
                " WHERE key = ? AND state = 'done'",
                (key,),
            )
            if found.rowcount:
                self._move(db, target, source)

    def total(self) -> int:
        with self._db() as db:
            return int(db.execute("SELECT sum(money) FROM accounts").fetchone()[0])

    def in_force(self, saga_id: str) -> set[str]:
        with self._db() as db:
            rows = db.execute("SELECT key FROM effects WHERE state = 'done'").fetchall()
        return {key.rpartition("/")[2] for (key,) in rows if key.rpartition("/")[0] == saga_id}

    @staticmethod
    def _move(db: sqlite3.Connection, source: str, target: str) -> None:
        db.execute("UPDATE accounts SET money = money - 1 WHERE name = ?", (source,))
        db.execute("UPDATE accounts SET money = money + 1 WHERE name = ?", (target,))

    @contextlib.contextmanager
    def _db(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as db:
            db.execute("PRAGMA synchronous = OFF")  # a killed process loses nothing by that
            with db:
                yield db


class Bank:
    """`transfer` fails as its input says; the others wait, have children, are too late or odd."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.sagas: Sagas | None = None
        self.gate: Path | None = None

        def act(run: Run[Transfer]) -> None:
            fault = run.input.get(run.step)
            if fault == "no":
                raise Declined("no")
            if fault == "once" and run.attempt == 1:
                raise RuntimeError("once")
            world.do(run.do_key, "anna", "ben")
            if self.gate is not None:
                self.gate.touch()
                wait_until(lambda: not self.is_taken(run.id))
            if fault == "fence":  # whoever has it is fenced off
                assert self.sagas is not None
                self.sagas.decide(run.id, "compensate")
            if fault == "lost":
                raise RuntimeError("the answer was lost")

        def take_back(run: Run[Transfer], _: object) -> None:
            fault = run.input.get(f"un-{run.step}")
            if fault == "never" or (fault == "once" and run.attempt == 1):
                raise RuntimeError("cannot be undone")
            world.undo(run.do_key, "anna", "ben")

        def undoable(name: str) -> Any:
            made = step(name=name, retry=QUICK)(act)
            made.undo(retry=QUICK)(take_back)
            return made

        debit, fee, credit = undoable("debit"), undoable("fee"), undoable("credit")
        settle = pivot(name="settle", retry=QUICK)(act)
        tell = retriable(name="tell", retry=QUICK)(act)
        self.transfer = Saga("transfer", debit, parallel(fee, credit), settle, tell)
        self.inner = Saga("inner", undoable("inner-debit"))
        self.outer = Saga(
            "outer", undoable("outer-debit"), Child(self.inner), Signal("approval"), settle,
            locks=lambda order: [order["customer"]],
        )  # fmt: skip
        self.late = Saga(
            "late", undoable("late-debit"), Signal("never"), deadline=timedelta(milliseconds=5)
        )
        self.slow = Saga("slow", Pause("held", timedelta(milliseconds=250)))
        self.odd = Saga("odd", undoable("odd-debit"), input=int)
        self.moved = two_versions(undoable("first"), settle)
        tick = Saga("tick", undoable("tick"))
        self.hourly = Schedule("hourly", tick, Every(timedelta(hours=1)), input={})
        self.all = [self.transfer, self.outer, self.late, self.slow, self.odd, *self.moved]

    def is_taken(self, saga_id: str) -> bool:
        """Whether another worker has the saga by now."""
        assert self.sagas is not None
        shop = self.sagas._shop
        row = shop.ledger.find(saga_id)
        return row is not None and row.owner != shop.owner


def two_versions(first: Any, last: Any) -> list[Saga]:
    """Of one saga, which waits after *first*."""
    held = (first, Signal("held"))
    return [Saga("moved", *held, version=1), Saga("moved", *held, last, version=2)]


# name -> (saga, input, how it ends, what of it is in force then)
ALL = {"debit", "fee", "credit", "settle", "tell"}
PLOT: dict[str, tuple[str, Any, Status, set[str]]] = {
    "good": ("transfer", {}, Status.COMPLETED, ALL),
    "refused": ("transfer", {"settle": "no", "un-fee": "once"}, Status.COMPENSATED, set()),
    "shaky": ("transfer", {"fee": "once", "tell": "once"}, Status.COMPLETED, ALL),
    "lost": ("transfer", {"fee": "lost"}, Status.COMPENSATED, set()),
    "stuck": ("transfer", {"settle": "no", "un-debit": "never"}, Status.PARKED, {"debit"}),
    "family": ("outer", {"customer": "anna"}, Status.COMPLETED, {"outer-debit", "settle"}),
    "broken": ("outer", {"customer": "anna", "settle": "no"}, Status.COMPENSATED, set()),
    "late": ("late", {}, Status.COMPENSATED, set()),
    "slow": ("slow", {}, Status.COMPLETED, set()),
    "fenced": ("transfer", {"debit": "fence"}, Status.COMPENSATED, set()),
    "odd": ("odd", "no number", Status.PARKED, set()),
    "cancelled": ("outer", {"customer": "ben"}, Status.COMPENSATED, set()),
}


def play(order: Mapping[str, Any]) -> None:
    """One life: the sagas of its round, and what earlier lives left; then it ends well."""
    if "counter" in order:
        saga_queues.work(order)
        return
    bank = Bank(World(Path(order["world"])))
    if "gate" in order:
        be_fenced(bank, order)
        return
    logging.disable()
    if order["failpoint"]:
        failpoints.arm(order["failpoint"])
    number = order["round"]
    lease = timedelta(seconds=order.get("lease", 1))
    fresh = Saga("fresh", version=number + 1)  # to be registered in each life
    with Sagas(
        order["url"], *bank.all, fresh, workers=4, lease=lease, schedules=[bank.hourly],
        queues=[ONE],
    ) as sagas:  # fmt: skip
        bank.sagas = sagas
        sagas.forget(timedelta(days=1))
        begin_by_schedule(sagas)
        begin_by_one_version(sagas, bank, number)
        # What other lives began may lack its signal or its decision, and holds its locks.
        for each in range(number + 1):
            if unrest(sagas, each):
                finish_round(sagas, bank, each)
        sagas.decide(f"odd-{number}", "resume")  # which parks it again, for the same reason
        wait_until(lambda: unrest(sagas, number))
        with contextlib.suppress(SagaExists):
            sagas.fork(f"good-{number}", "settle", new_id=f"forked-{number}")
        assert sagas.find(f"forked-{number}").wait(timedelta(seconds=SECONDS_MAX))
        assert bank.world.in_force(f"forked-{number}") == {"settle", "tell"}
        # So that leases were renewed and what was fenced off is let go.
        sagas.run(bank.slow, {}, id=f"last-{number}")
        wait_until(lambda: sagas._shop.stranded)


def begin_by_schedule(sagas: Sagas) -> None:
    """One more of the schedule, now."""
    ledger = sagas._shop.ledger
    table, now = Timetable(ledger), ledger.now_nanos() // 1000
    firing._LOOK_SECONDS = 0.02
    table.hasten("hourly", now)
    wait_until(lambda: table.entries()["hourly"].due <= now)


def begin_by_one_version(sagas: Sagas, bank: Bank, number: int) -> None:
    """One more that goes on by the other version, and what earlier lives left of those."""
    old, new = bank.moved
    sagas.start(old, {}, id=f"moved-{number}")
    wait_until(lambda: bank.world.in_force(f"moved-{number}") != {"first"})
    assert not [one for one in sagas.migrate(old, new) if one.why]
    for row in sagas._shop.ledger.listed(status=None, name="moved", most=1000):
        if row.ended is None:
            sagas.signal(row.id, "held")


def be_fenced(bank: Bank, order: Mapping[str, Any]) -> None:
    """Make the gate within a step, be frozen there, and find that another has the saga."""
    warned: list[str] = []
    watch = logging.Handler()
    watch.emit = lambda record: warned.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("moreton.transactions.saga").addHandler(watch)
    bank.gate = Path(order["gate"])
    lease = timedelta(seconds=order["lease"])
    with Sagas(order["url"], *bank.all, workers=1, lease=lease) as sagas:
        bank.sagas = sagas
        sagas.start(bank.transfer, {}, id="gated")
        wait_until(lambda: not any("another worker's" in line for line in warned))


def finish_round(sagas: Sagas, bank: Bank, number: int) -> None:
    for name, (saga, value, _, _) in PLOT.items():
        queue = ONE if name == "shaky" else None
        sagas.start(getattr(bank, saga), value, id=f"{name}-{number}", queue=queue)
    try:
        sagas.decide(f"cancelled-{number}", "compensate")
    except DecisionRefused as error:
        if "already" not in str(error):
            raise
    for name in ("family", "broken"):
        if not sagas.find(f"{name}-{number}").status().is_final:
            sagas.signal(f"{name}-{number}", "approval", "yes")
    wait_until(lambda: unrest(sagas, number))


def unrest(sagas: Sagas, number: int) -> list[str]:
    """Which sagas of the round are not where they should end, and where they are."""
    for row in sagas._shop.ledger.listed(status=Status.PARKED, name=None, most=1000):
        if "workers in a row" in row.reason:  # so many lives ended that had it: a person looked
            sagas.decide(row.id, "resume")
    return [
        f"{name} is {status}, {reason_of(sagas, f'{name}-{number}')}"
        for name, (_, _, end, _) in PLOT.items()
        if (status := status_of(sagas, f"{name}-{number}")) is not end
    ]


def reason_of(sagas: Sagas, saga_id: str) -> str:
    row = sagas._shop.ledger.find(saga_id)
    return "" if row is None else row.reason


def status_of(sagas: Sagas, saga_id: str) -> Status | None:
    try:
        return sagas.find(saga_id).status()
    except SagaUnknown:
        return None


def wait_until(left: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS_MAX
    while found := left():
        assert time.monotonic() < end, f"not at its end: {found}"
        time.sleep(0.002)


if __name__ == "__main__":
    serve(play)
