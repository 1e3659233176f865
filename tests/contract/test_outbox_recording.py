"""What an inbox records of each event, in tables of today and of earlier versions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from moreton.transactions.outbox import Event
from moreton.transactions.outbox.places import Place, open_place
from moreton.transactions.outbox.tables import incoming, leases
from moreton.transactions.outbox.tables.schema import inbox_schema, install

TTL = timedelta(seconds=5)
KEY, EARLIER_KEY = "PRIMARY KEY (id, source, consumer)", "PRIMARY KEY (consumer, source, id)"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    url = f"sqlite:///{request.getfixturevalue('tmp_path')}/bank.db"
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_of_session").new_database()
    place = open_place(url)
    yield place
    place.close()


@pytest.mark.parametrize("key", [KEY, EARLIER_KEY])
def test_event_is_recorded_once_for_each_consumer_and_source(place: Place, key: str) -> None:
    made = [sql.replace(KEY, key) for sql in inbox_schema(place.dialect)]
    assert sum(key in sql for sql in made) == 1
    place.run(install(place.dialect, made))
    place.run(install(place.dialect, inbox_schema(place.dialect)))
    assert record(place, "bank", ("/shop", "1"), ("/shop", "2")) == {("/shop", "1"), ("/shop", "2")}
    assert record(place, "bank", ("/shop", "2"), ("/bar", "2")) == {("/bar", "2")}
    assert record(place, "mail", ("/shop", "1")) == {("/shop", "1")}
    assert record(place, "bank", ("/shop", "1"), ("/bar", "2")) == set()


def record(place: Place, consumer: str, *names: tuple[str, str]) -> set[tuple[str, str]]:
    lease = f"inbox:{consumer}"
    token = place.ask(leases.take(lease, "me", place.ask(leases.look(lease))))
    assert token is not None
    fence = leases.fence(place.dialect, lease, token, TTL)
    events = [Event("placed", source=source, id=name) for source, name in names]
    found = place.run(incoming.arrive(place.dialect, consumer, fence, events, {}))
    assert found.ours
    return set(found.fresh)
