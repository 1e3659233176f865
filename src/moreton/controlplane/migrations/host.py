"""Migrations as the API has them: shown and ordered at any node, driven by one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from moreton.controlplane.core.desired import Desired
from moreton.controlplane.core.objects import Kind, ObjectKey
from moreton.controlplane.migrations.copies import Copies, NoCopies
from moreton.controlplane.migrations.driving import Driver
from moreton.controlplane.migrations.errors import (
    MigrationContended,
    MigrationRefuses,
    MigrationUnreadable,
    UnknownMigration,
)
from moreton.controlplane.migrations.hooks.delivering import Deliverer
from moreton.controlplane.migrations.hooks.views import webhook_document
from moreton.controlplane.migrations.looking import Counting, Looker, Sides
from moreton.controlplane.migrations.records import (
    STATES,
    Record,
    decode_record,
    history_prefix,
    state_key,
    written,
)
from moreton.controlplane.migrations.reports.files import ReportFiles, report_file
from moreton.controlplane.migrations.reports.findings import Findings
from moreton.controlplane.migrations.reports.recording import read_samples
from moreton.controlplane.migrations.telling import Teller
from moreton.controlplane.migrations.views import to_document, unreadable_document
from moreton.envoy.admin import AdminClient
from moreton.gateway.core.model import Route
from moreton.kernel.time import Clock, SystemClock
from moreton.registry.registering import FencedWrite
from moreton.store import Compare, Store, prefix_end
from moreton.strangler.reporting import Report, tell
from moreton.strangler.rollout.core.machine import Migration
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.progress import Commit, Order, Ordered, Progress, Refuse
from moreton.strangler.rollout.core.webhooks import Webhook

# The driver writes every ten seconds: so many losses are no chance.
_ATTEMPTS_MAX = 16


class Migrations:
    """The migrations of *store*, and those that *plans* says could be started.

    *find* tells what was found in comparing a route, *webhooks* whom to tell of which migration;
    into *folder* go reports.
    """

    def __init__(
        self,
        store: Store,
        desired: Desired,
        plans: Callable[[], Mapping[str, Plan]],
        *,
        copies: Copies | None = None,
        clock: Clock | None = None,
        find: Callable[[str], Findings] = lambda _: Findings(),
        webhooks: Callable[[], Mapping[str, Sequence[Webhook]]] = dict,
        folder: Callable[[], Path | None] = lambda: None,
    ) -> None:
        self._store = store
        self._desired = desired
        self._plans = plans
        self._clock = clock or SystemClock()
        self._copies = copies or NoCopies()
        self._find = find
        self._webhooks = webhooks
        self._folder = folder
        self._counting: Counting | None = None
        self._teller: Teller | None = None
        self._driver: Driver | None = None

    def watch(self, admin: AdminClient) -> None:
        """Both sides are counted by the Envoy behind *admin*."""
        self._counting = Counting(admin)

    async def tell(self, node: str, is_fine: Callable[[], None]) -> None:
        """Tell the other nodes what is counted here, as *node*; until cancelled."""
        assert self._counting is not None, "nobody counts"
        self._teller = Teller(self._store, self._counting, node=node)
        await self._teller.run(is_fine)

    async def drive(self, write: FencedWrite) -> None:
        """Look at what is under way and do what follows; until cancelled."""
        assert self._counting is not None, "nobody counts"
        looker = Looker(self._counting, self._told, self._copies, self._clock)
        self._driver = Driver(
            self._store,
            looker,
            self._copies,
            clock=self._clock,
            unfit=self._unfit,
            told=self._webhooks_of,
        )
        await self._driver.run(write)

    async def deliver(self, edited: Callable[[], asyncio.Event], write: FencedWrite) -> None:
        """Tell the webhooks, which may be others when *edited* is set; until cancelled."""
        await Deliverer(self._store, self._webhooks, edited, clock=self._clock).run(write)

    async def write_reports(self, _: FencedWrite) -> None:
        """Put reports of what is over into the folder; until cancelled."""
        folder = self._folder()
        assert folder is not None, "there is no folder for reports"
        await ReportFiles(self._store, folder, self.report).run()

    def _webhooks_of(self, name: str) -> Sequence[str]:
        return [each.name for each in self._webhooks().get(name, ())]

    async def _told(self, name: str) -> Mapping[str, Sides]:
        return {} if self._teller is None else await self._teller.others(name)

    async def order(self, name: str, ordered: Ordered) -> tuple[dict[str, Any], int]:
        """Follow *ordered*; the migration as it is then, and the revision that has it.

        Raises `UnknownMigration`, `MigrationUnreadable`, `MigrationRefuses`, `MigrationContended`.
        """
        for _ in range(_ATTEMPTS_MAX):
            record, revision = await self._read(name)
            unchanged = [Compare.mod(state_key(name), "=", revision)]
            if not record.is_under_way:
                others = await self._stored()
                if ordered.order is Order.START:
                    record = self._startable(name, record)
                _check_free(record.plan, others)
                # So that of two which begin at once on one route only one does.
                plans = {**self._plans(), **{each: held.plan for each, (held, _) in others.items()}}
                unchanged += [
                    Compare.mod(state_key(each), "=", others[each][1] if each in others else 0)
                    for each, plan in plans.items()
                    if each != name and plan.route == record.plan.route
                ]
            machine = Migration(record.plan, self._newest(record, revision))
            (effect,) = machine.handle(ordered, self._clock.now())
            if isinstance(effect, Refuse):
                raise MigrationRefuses(what=effect.what, todo=effect.todo)
            assert isinstance(effect, Commit)
            after, operations = written(
                record, effect, self._clock.wall(), self._copies, self._webhooks_of(name)
            )
            done = await self._store.txn(unchanged, operations)
            if done.succeeded:
                return self._document(after, done.revision), done.revision
        raise MigrationContended(name=name)

    async def show(self, name: str) -> dict[str, Any]:
        """How far *name* is, and its webhooks. Raises as `order`."""
        found = self._document(*await self._read(name))
        told = [
            await webhook_document(self._store, name, each)
            for each in self._webhooks().get(name, ())
        ]
        file = None if (folder := self._folder()) is None else report_file(folder, name)
        report = str(file) if file is not None and file.exists() else None
        return {**found, "webhooks": told, "report": report}

    async def all(self) -> list[dict[str, Any]]:
        """Every migration by name, also those that nobody started yet, or that nobody can read."""
        found, unreadable = await self._kept()
        planned = {name: (Record(plan, Progress()), 0) for name, plan in self._plans().items()}
        shown = {name: self._document(*each) for name, each in {**planned, **found}.items()}
        shown |= {name: unreadable_document(name) for name in unreadable}
        return [each for _, each in sorted(shown.items())]

    async def history(self, name: str) -> list[dict[str, Any]]:
        """What happened to *name*, oldest first. Raises as `order`."""
        await self._read(name)
        prefix = history_prefix(name)
        found = await self._store.range(prefix, prefix_end(prefix))
        return [json.loads(kv.value) for kv in found.kvs]

    async def report(self, name: str) -> Report:
        """All that is known of *name*, also while it goes on. Raises as `order`."""
        record, revision = await self._read(name)
        found = await asyncio.to_thread(self._find, record.plan.route)
        return tell(
            record.plan,
            self._newest(record, revision),
            await self.history(name),
            list((await read_samples(self._store, name)).values()),
            made=self._clock.wall(),
            differences=found.differences,
            accepted=found.accepted,
            note=found.note,
        )

    def _startable(self, name: str, record: Record) -> Record:
        """*record* by the plan that moreton.yaml has now."""
        plan = self._plans().get(name)
        if plan is None:
            what = f'migration "{name}" is not in moreton.yaml any more'
            raise MigrationRefuses(what=what, todo="define it again to start it again")
        if unfit := self._unfit(plan):
            raise MigrationRefuses(what=unfit, todo="mend moreton.yaml")
        progress = record.progress if plan.sides == record.plan.sides else Progress()
        return Record(plan, progress, record.entries, record.changed)

    def _unfit(self, plan: Plan) -> str:
        """Why *plan* cannot be followed now; empty when it can."""
        key = ObjectKey(Kind.ROUTE, plan.route)
        route = self._desired.weighted(key)
        if not isinstance(route, Route):
            return f'route "{plan.route}" is gone'
        if problem := self._desired.problem(key):
            return problem
        if {each.service for each in route.to} != {plan.baseline, plan.candidate}:
            return f'route "{plan.route}" sends to others than {plan.baseline} and {plan.candidate}'
        return ""

    def _document(self, record: Record, revision: int) -> dict[str, Any]:
        planned = self._plans().get(record.plan.name)
        return to_document(record, self._newest(record, revision), planned)

    def _newest(self, record: Record, revision: int) -> Progress:
        """With what was seen since it was saved, where this node is the one that looks."""
        live = None if self._driver is None else self._driver.driven.get(record.plan.name)
        is_same = live is not None and live.revision == revision
        return live.progress if live is not None and is_same else record.progress

    async def _stored(self) -> dict[str, tuple[Record, int]]:
        return (await self._kept())[0]

    async def _kept(self) -> tuple[dict[str, tuple[Record, int]], set[str]]:
        """What the store has by name, and the names of what cannot be read."""
        found = await self._store.range(STATES, prefix_end(STATES))
        read: dict[str, tuple[Record, int]] = {}
        unreadable = set()
        for kv in found.kvs:
            record = decode_record(kv.value)
            if record is None:
                unreadable.add(kv.key.removeprefix(STATES).decode(errors="replace"))
            else:
                read[record.plan.name] = record, kv.mod_revision
        return read, unreadable

    async def _read(self, name: str) -> tuple[Record, int]:
        found = await self._store.range(state_key(name))
        if found.kvs:
            record = decode_record(found.kvs[0].value)
            if record is None:
                raise MigrationUnreadable(name=name)
            return record, found.kvs[0].mod_revision
        plan = self._plans().get(name)
        if plan is None:
            raise UnknownMigration(name=name, known={*self._plans(), *await self._stored()})
        return Record(plan, Progress()), 0


def _check_free(plan: Plan, others: Mapping[str, tuple[Record, int]]) -> None:
    """Raises `MigrationRefuses` while another migration moves the route of *plan*."""
    for other, (held, _) in others.items():
        if other != plan.name and held.is_under_way and held.plan.route == plan.route:
            what = f'migration "{plan.name}": "{other}" moves route "{plan.route}" now'
            raise MigrationRefuses(what=what, todo=f"roll {other} back or let it end first")
