"""What a relay asks of its table, at both databases: how it marks, and reads what follows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from pathlib import Path

import psycopg
import pytest

from moreton.transactions.outbox import Outbox
from moreton.transactions.outbox.core.event import encode
from moreton.transactions.outbox.places import Place, open_place
from moreton.transactions.outbox.tables import leases, outgoing
from moreton.transactions.outbox.tables.dialect import POSTGRES
from moreton.transactions.outbox.tables.schema import install
from support.postgres_server import PostgresServer

OUTBOX = Outbox("orders")
TTL = timedelta(seconds=5)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    url = f"sqlite:///{tmp_path}/shop.db"
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres_of_session")
        url = server.new_database()
    place = open_place(url)
    place.run(install(place.dialect, OUTBOX.schema(place.dialect)))
    yield place
    place.close()


def add(place: Place, number: int) -> None:
    event = OUTBOX.event("placed", number)
    place.run(outgoing.add(place.dialect, OUTBOX.table, [(event.id, event.key, encode(event))]))


def mark(place: Place, token: int, positions: list[int], *, keep: bool) -> list[int] | None:
    fence = leases.fence(place.dialect, "relay", token, TTL)
    found = place.run(
        outgoing.mark(place.dialect, OUTBOX.table, fence, positions, keep=keep, limit=2)
    )
    return None if found is None else [row.position for row in found]


@pytest.mark.parametrize("keep", [True, False])
def test_marking_reads_what_is_unsent_next_and_nothing_without_the_lease(
    place: Place, *, keep: bool
) -> None:
    for number in range(5):
        add(place, number)
    token = place.ask(leases.take("relay", "me", place.ask(leases.look("relay"))))
    assert token is not None
    assert mark(place, token - 1, [1, 2], keep=keep) is None
    assert mark(place, token, [2], keep=keep) == [1, 3], "an older one may become visible late"
    assert mark(place, token, [1, 3], keep=keep) == [4, 5]
    assert mark(place, token, [4, 5], keep=keep) == []
    assert place.ask(outgoing.backlog(place.dialect, OUTBOX.table))[2] == (5 if keep else 0)


def test_marking_takes_as_long_whatever_is_kept(postgres_of_session: PostgresServer) -> None:
    url = postgres_of_session.new_database()
    with psycopg.connect(url) as connection:
        OUTBOX.install(connection)
        fence = leases.fence(POSTGRES, "relay", 1, TTL)
        script = outgoing.mark(POSTGRES, OUTBOX.table, fence, [1], keep=True, limit=500)
        (statement,) = next(script)
        numbers = count(1)
        words = statement.sql.split("?")
        sql = "".join([words[0], *(f"${next(numbers)}{word}" for word in words[1:])])
        connection.execute(
            "INSERT INTO moreton_outbox (id, key, event, sent_at) "
            "SELECT n::text, '', '', now() FROM generate_series(1, 5000) AS n"
        )
        connection.execute("ANALYZE moreton_outbox")
        plan = connection.execute(f"EXPLAIN (GENERIC_PLAN) {sql}".encode()).fetchall()
    lines = [line for (line,) in plan]
    assert any("moreton_outbox_pkey" in line for line in lines), lines
    assert not any("Seq Scan on moreton_outbox" in line for line in lines), lines
