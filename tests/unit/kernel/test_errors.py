"""What of an address a message may show."""

from __future__ import annotations

import pytest

from moreton.kernel.errors import shown_address
from moreton.store.errors import UnknownStoreUrl
from moreton.transactions.saga.errors import UnknownLedgerUrl


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgre://app:secret@db/shop", "'postgre:…@db/shop'"),
        ("postgresql:/app:se/cr@et@db/shop", "'postgresql:…@db/shop'"),
        ("app:secret@db", "'app:…@db'"),
        ("sqlit:///orders.db", "'sqlit:///orders.db'"),
        ("", "''"),
    ],
)
def test_password_is_not_shown(address: str, shown: str) -> None:
    assert shown_address(address) == shown


@pytest.mark.parametrize("unknown", [UnknownStoreUrl, UnknownLedgerUrl])
def test_address_that_is_refused_is_shown_without_its_password(
    unknown: type[UnknownStoreUrl | UnknownLedgerUrl],
) -> None:
    told = str(unknown(url="mysql://app:secret@db/shop"))
    assert "secret" not in told
    assert "'mysql:…@db/shop' is not the address of a" in told
