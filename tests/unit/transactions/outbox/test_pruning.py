"""What is deleted in time, a bounded part at a time, without a look at all that is kept."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.transactions.outbox.places import Place, open_place
from moreton.transactions.outbox.tables import incoming, log, outgoing
from moreton.transactions.outbox.tables.schema import (
    broker_schema,
    inbox_schema,
    install,
    outbox_schema,
)
from moreton.transactions.outbox.tables.script import Statement

HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
MINE = Statement("SELECT 1")
NOT_MINE = Statement("SELECT 1 WHERE 0")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = open_place(f"sqlite:///{tmp_path}/a.db")
    dialect = place.dialect
    schema = [*outbox_schema(dialect, "o"), *inbox_schema(dialect), *broker_schema(dialect)]
    place.run(install(dialect, schema))
    yield place
    place.close()


def fill(place: Place, sql: str, count: int) -> None:
    numbers = "WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT ?) "
    with place.begin() as work:
        work.given.execute(numbers + sql, (count,))


def test_sent_events_are_pruned_part_by_part_and_young_ones_kept(place: Place) -> None:
    fill(place, "INSERT INTO o (id, key, event, sent_at) SELECT n, n, n, 0 FROM n", 1500)
    fill(place, "INSERT INTO o (id, key, event) SELECT n, n, n FROM n", 3)
    dialect = place.dialect

    def prune(mine: Statement = MINE) -> int | None:
        return place.run(outgoing.prune(dialect, "o", mine, HOUR))

    assert prune(NOT_MINE) is None
    assert [prune(), prune(), prune()] == [outgoing.PRUNE_ROWS_MAX, 500, 0]
    assert place.ask(outgoing.backlog(dialect, "o"))[0] == 3


def test_handled_events_are_forgotten_part_by_part(place: Place) -> None:
    insert = "INSERT INTO moreton_inbox (consumer, source, id, at) SELECT 'bank', 's', n, 0 FROM n"
    fill(place, insert, 1500)

    def forget(mine: Statement = MINE) -> int | None:
        return place.run(incoming.forget(place.dialect, "bank", mine, HOUR))

    assert forget(NOT_MINE) is None
    assert [forget(), forget(), forget()] == [incoming.FORGET_ROWS_MAX, 500, 0]


def test_messages_expire_part_by_part(place: Place) -> None:
    place.run(log.append("orders", b"[]", "epoch"))
    insert = "INSERT INTO moreton_frames (topic, position, body, at) "
    insert += "SELECT 'orders', n + 1, '', 0 FROM n"
    fill(place, insert, 700)
    with place.begin() as work:
        work.given.execute("UPDATE moreton_frames SET at = 0 WHERE position <= 600")

    def expire() -> int:
        return place.run(log.expire(place.dialect, "orders", YEAR))

    assert [expire(), expire(), expire()] == [log.PRUNE_ROWS_MAX, 201, 0]
    assert place.ask(log.extent("orders"))[0] == 702
