"""Which log the commands of `moreton saga` mean."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from moreton.transactions.saga.core.plan import Plan
    from moreton.transactions.saga.ledgers.port import Ledger, SagaRow

DEFAULT_AT = "sqlite:///sagas.sqlite"

At: TypeAlias = Annotated[
    str, typer.Option("--at", envvar="MORETON_SAGAS", help="The log: sqlite:///… or postgresql://…")
]
SagaId: TypeAlias = Annotated[str, typer.Argument(metavar="ID", help="The saga's id.")]


@contextlib.contextmanager
def opened(url: str) -> Iterator[Ledger]:
    """The log at *url*, beside the engine that may use it."""
    from moreton.transactions.saga.ledgers.opening import open_ledger  # noqa: PLC0415 - for help

    ledger = open_ledger(url, lease=timedelta(seconds=30), owner=False)
    try:
        yield ledger
    finally:
        ledger.close()


def found(ledger: Ledger, saga_id: str) -> SagaRow:
    """The saga; raises `SagaUnknown`."""
    from moreton.transactions.saga.errors import SagaUnknown  # noqa: PLC0415 - as above

    row = ledger.find(saga_id)
    if row is None:
        raise SagaUnknown(saga_id=saga_id, where=ledger.where)
    return row


def plan_for(ledger: Ledger, row: SagaRow) -> Plan:
    """The plan by which *row* runs, as it was registered."""
    from moreton.transactions.saga.registering import registered_plan  # noqa: PLC0415 - as above

    return registered_plan(ledger, row)


def moment(micros: int) -> str:
    """*micros* since 1970 as people and programs read it."""
    return datetime.fromtimestamp(micros / 1e6, UTC).isoformat(timespec="milliseconds")
