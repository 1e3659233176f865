"""PostgreSQL by who installed no library for it: what to install is said, wherever it is met."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from moreton.transactions.databases.database import open_database
from moreton.transactions.databases.errors import DriverMissing
from moreton.transactions.outbox.brokers.opening import open_broker
from moreton.transactions.outbox.places.opening import open_place
from moreton.transactions.saga.ledgers.opening import open_ledger

AT = "postgresql://localhost/shop"
CURE = "pip install 'moreton[postgres]'"
WITHOUT = "import sys; sys.modules['psycopg'] = None\n"
COMMAND = f"{WITHOUT}from moreton.cli.main import main; main()"


@pytest.mark.parametrize(
    "opened",
    [
        lambda: open_ledger(AT, lease=timedelta(seconds=30)),
        lambda: open_place(AT),
        lambda: open_broker(AT),
        lambda: open_database(AT),
    ],
    ids=["sagas", "outbox", "broker", "database"],
)
def test_address_of_a_postgresql_says_what_to_install(
    opened: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DriverMissing, match="psycopg is not installed"):
        opened()


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["saga", "list", "--at", AT],
        ["outbox", "status", "--database", AT],
        ["outbox", "relay", "orders", "--database", AT, "--broker", AT],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_command_says_what_to_install(words: list[str]) -> None:
    told = subprocess.run(
        [sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, timeout=60
    )
    assert CURE in told.stderr
    assert told.returncode not in {0, 70}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    ["moreton.transactions.outbox.bell", "moreton.transactions.twophase.postgres"],
)
def test_module_that_needs_it_says_what_to_install(module: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", f"{WITHOUT}import {module}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "DriverMissing" in told.stderr.splitlines()[-1]
