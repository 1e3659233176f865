"""Which definitions a log knows, and whether those that are given now are the same."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from moreton.transactions.saga.core.plan import Plan, plan_of
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.errors import SagaChanged
from moreton.transactions.saga.ledgers.port import Ledger, SagaRow, Stored


def by_name(sagas: Iterable[Saga]) -> dict[tuple[str, int], Saga]:
    """*sagas* by name and version; raises `ValueError` when two of them share these."""
    found: dict[tuple[str, int], Saga] = {}
    for saga in sagas:
        if found.setdefault((saga.name, saga.version), saga) is not saga:
            raise ValueError(
                f'two sagas are called "{saga.name}" version {saga.version}: a log would not say '
                "which of them it follows; give one another name or version"
            )
    return found


def register(ledger: Ledger, sagas: Sequence[Saga]) -> None:
    """Keep the shapes of *sagas*, by which anybody can read their logs.

    Raises `SagaChanged` when one differs from what running sagas of its version began with.
    """
    known = {(stored.name, stored.version): stored for stored in ledger.definitions()}
    for saga in sagas:
        key = (saga.name, saga.version)
        before = known.get(key)
        if before is not None and before.fingerprint == saga.plan.fingerprint:
            continue
        if before is not None and before.running:
            had = [step.name for step in plan_of(json.loads(before.shape)).steps]
            raise SagaChanged(
                saga=saga.name, version=saga.version, running=before.running, had=had or ["none"]
            )
        shape = json.dumps(saga.plan.shape(), separators=(",", ":"))
        ledger.define(Stored(saga.name, saga.version, saga.plan.fingerprint, shape))


def registered_plan(ledger: Ledger, row: SagaRow) -> Plan:
    """The plan by which *row* runs, as whoever has its code registered it."""
    shapes = {(one.name, one.version): one.shape for one in ledger.definitions()}
    return plan_of(json.loads(shapes[row.name, row.version]))
