"""A migration in virtual time, written to a store as the control plane writes it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from random import Random

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.migrations.copies import NoCopies
from moreton.controlplane.migrations.host import Migrations
from moreton.controlplane.migrations.records import Record, encode_record, state_key, written
from moreton.controlplane.migrations.reports.findings import Findings
from moreton.controlplane.migrations.reports.recording import Recorder
from moreton.kernel.time import Instant
from moreton.store import Put, Store, open_store
from moreton.store.core.model import Op
from moreton.strangler.reporting import Report
from moreton.strangler.rollout.core.machine import Migration
from moreton.strangler.rollout.core.plan import (
    DifferenceGate,
    ErrorGate,
    LatencyGate,
    Plan,
    Stage,
)
from moreton.strangler.rollout.core.progress import (
    Commit,
    Effect,
    Looked,
    Order,
    Ordered,
    Phase,
    Progress,
    Save,
    SharesChanged,
    share_of,
)
from moreton.strangler.rollout.core.sides import Bin, Look, Side

BEGAN = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)
PLAN = Plan(
    "catalogue",
    "products",
    "shop",
    "catalogue",
    (
        Stage("shadow", 0.0, timedelta(seconds=20), 50, copies=0.5),
        *(Stage(f"{s:.0%}", s, timedelta(seconds=20), 100) for s in (0.05, 0.25, 0.5, 1.0)),
        Stage("soak", 1.0, timedelta(seconds=30), 100),
    ),
    (ErrorGate(0.05), LatencyGate(0.95, 0.5), DifferenceGate(0.05)),
)


@dataclass
class VirtualTime:
    """A clock that stands until it is moved."""

    passed: timedelta = timedelta(0)

    def now(self) -> Instant:
        return Instant(0) + self.passed

    def wall(self) -> datetime:
        return BEGAN + self.passed


@dataclass
class Migrated:
    """A migration by *plan* of a route that is asked *rate* times a second."""

    plan: Plan = PLAN
    rate: float = 200.0
    seed: int = 1
    store: Store = field(default_factory=lambda: open_store("memory:"))
    clock: VirtualTime = field(default_factory=VirtualTime)
    candidate_errors: float = 0.002
    candidate_ms: float = 18.0
    differing: float = 0.001

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)
        self._record = Record(self.plan, Progress())
        self._machine = Migration(self.plan, Progress())
        self._recorder = Recorder(self.store, self.clock)

    @property
    def phase(self) -> Phase:
        return self._machine.progress.phase

    @property
    def stage(self) -> str:
        return self._machine.stage.name

    def edit(self, plan: Plan) -> None:
        """What is started next goes by *plan*."""
        self.plan = plan
        self._record = replace(self._record, plan=plan)
        self._machine = Migration(plan, self._record.progress)

    async def order(self, order: Order, because: str = "", *, force: bool = False) -> None:
        """Somebody gives an order."""
        told = Ordered(order, "olive", because, force)
        await self._perform(self._machine.handle(told, self.clock.now()))

    async def weights_set(self, share: float) -> None:
        """Somebody else sets weights."""
        told = SharesChanged(share)
        await self._perform(self._machine.handle(told, self.clock.now()))

    def away(self, time: timedelta) -> None:
        """Nobody looks for a while."""
        self.clock.passed += time

    async def report(self, findings: Findings | None = None) -> Report:
        """What the control plane reports of it."""
        host = Migrations(
            self.store,
            Desired(),
            lambda: {self.plan.name: self.plan},
            clock=self.clock,
            find=lambda _: findings or Findings(),
        )
        return await host.report(self.plan.name)

    async def watch(self, seconds: float, *, until: str = "", trouble: str = "") -> None:
        """So much time passes, or less, if it is in the stage or phase *until* before."""
        step = timedelta(seconds=0.5)
        for number in range(int(seconds * 2)):
            if until in {self.stage, self.phase.value}:
                return
            self.clock.passed += step
            look = Look(trouble=trouble) if trouble else self._look(number)
            await self._write(await self._recorder.see(self._record, look))
            await self._perform(self._machine.handle(Looked(look), self.clock.now()))

    def _look(self, number: int) -> Look:
        share = share_of(self.plan, self._machine.progress)
        asked = int(self.rate / 2)
        moved = sum(self._rng.random() < share for _ in range(asked))
        # Envoy tells times of five seconds at a time.
        telling = number % 10 == 9
        old = self._side(asked - moved, 0.002, 20.0, telling=telling)
        new = self._side(moved, self.candidate_errors, self.candidate_ms, telling=telling)
        copies = self._machine.stage.copies
        compared = int((asked - moved) * copies)
        different = sum(self._rng.random() < self.differing for _ in range(compared))
        return Look(old, new, compared, different)

    def _side(self, requests: int, errors: float, median: float, *, telling: bool) -> Side:
        failed = sum(self._rng.random() < errors for _ in range(requests))
        drawn = (
            max(1, int(self._rng.lognormvariate(math.log(median), 0.4)))
            for _ in range(5 * requests if telling else 0)
        )
        times = Counter(Bin(ms, 1) for ms in drawn)
        return Side(requests, failed, times)

    async def _perform(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            assert isinstance(effect, Commit | Save), effect
            self._record, operations = written(self._record, effect, self.clock.wall(), NoCopies())
            await self._write(operations)
        if not self._record.is_under_way:
            await self._write(self._recorder.forget(self.plan.name))
        else:
            seen = replace(self._record, progress=self._machine.progress)
            await self._write([Put(state_key(self.plan.name), encode_record(seen))])

    async def _write(self, operations: Sequence[Op]) -> None:
        if operations:
            await self.store.txn((), operations)
