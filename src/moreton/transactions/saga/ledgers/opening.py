"""From an address to a ledger."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from moreton.transactions.databases.driver import need_driver
from moreton.transactions.saga.errors import UnknownLedgerUrl
from moreton.transactions.saga.ledgers.port import Ledger

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def open_ledger(url: str, *, lease: timedelta, owner: bool = True) -> Ledger:
    """The ledger at *url*; *owner*: as an engine, else to look at it and to decide.

    Raises `UnknownLedgerUrl`, `DriverMissing`, and what the database has to say.
    """
    if url.startswith(_SQLITE) and url != _SQLITE:
        from moreton.transactions.saga.ledgers.sqlite import SqliteLedger  # noqa: PLC0415 - if used

        return SqliteLedger(Path(url.removeprefix(_SQLITE)), owner=owner)
    if url.startswith(_POSTGRES):
        need_driver()
        from moreton.transactions.saga.ledgers.postgres import PostgresLedger  # noqa: PLC0415

        return PostgresLedger(url, lease_micros=lease // timedelta(microseconds=1))
    raise UnknownLedgerUrl(url=url)
