"""Each countermeasure in real databases: what goes wrong without it, and does not with it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session

from moreton.transactions.isolation import (
    Change,
    CircleOfWaits,
    IsolationMissing,
    NoRow,
    Reading,
    SemanticLock,
    ValueChanged,
    VersionFile,
    install,
    schema,
)
from moreton.transactions.isolation.errors import OutsideTransaction
from support.postgres_server import PostgresServer

Connect = Callable[[], Any]
SEVEN = {"id": 7}
NOW = timedelta(0)


@pytest.fixture(scope="module")
def url(postgres_of_session: PostgresServer) -> str:
    return postgres_of_session.new_database()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def connect(
    request: pytest.FixtureRequest, url: str, tmp_path_factory: pytest.TempPathFactory
) -> Connect:
    path = tmp_path_factory.mktemp("isolation") / "bank.db"

    def connect() -> Any:
        if request.param == "sqlite":
            return sqlite3.connect(path, timeout=30, check_same_thread=False)
        return psycopg.connect(url)

    with contextlib.closing(connect()) as connection:
        install(connection)
        connection.execute("CREATE TABLE accounts (id INTEGER PRIMARY KEY, cents INTEGER, f TEXT)")
        connection.commit()
    return connect


@pytest.fixture
def database(connect: Connect) -> Iterator[Any]:
    """A connection; account 7 has a hundred cents, and nobody waits for anything."""
    with contextlib.closing(connect()) as connection:
        for table in ("accounts", "moreton_lock", "moreton_version", "moreton_version_next"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - ours
        connection.execute("INSERT INTO accounts VALUES (7, 100, 'open')")
        connection.commit()
        yield connection


def cents(connection: Any) -> int:
    ((found,),) = connection.execute("SELECT cents FROM accounts WHERE id = 7").fetchall()
    connection.commit()
    return int(found)


def put(connection: Any, amount: int) -> None:
    connection.execute(f"UPDATE accounts SET cents = {amount} WHERE id = 7")  # noqa: S608 - ours
    connection.commit()


ACCOUNT = SemanticLock("account-7")


def test_without_a_lock_one_decides_by_what_is_taken_back(database: Any) -> None:
    put(database, 0)  # the first saga takes all, and is not at its end
    refused = cents(database) < 50  # the second one wants fifty
    put(database, 100)  # the first one goes back
    assert refused, "it was refused by what never came to be"


def test_with_a_lock_the_second_waits_until_it_is_certain(database: Any) -> None:
    assert ACCOUNT.take(database, owner="first")
    put(database, 0)
    second = ACCOUNT.take(database, owner="second", note={"wants": 50})
    database.commit()
    assert (bool(second), second.ahead, second.holder) == (False, 1, "first")
    put(database, 100)
    following = ACCOUNT.leave(database, owner="first")
    database.commit()
    assert following is not None
    assert (following.owner, following.note) == ("second", {"wants": 50})
    assert ACCOUNT.take(database, owner="second")
    assert cents(database) >= 50


def test_waiters_have_their_turn_in_the_order_of_asking(database: Any) -> None:
    for owner in "abcb":
        ACCOUNT.take(database, owner=owner)
    assert [one.owner for one in ACCOUNT.queue(database)] == ["a", "b", "c"]
    # One who waits and gives up is passed over; the holder stays.
    assert ACCOUNT.leave(database, owner="b") is None
    found = ACCOUNT.leave(database, owner="a")
    assert found is not None
    assert found.owner == "c"
    assert [one.owner for one in SemanticLock.held(database, longer_than=NOW)] == ["c"]
    assert not SemanticLock.held(database, longer_than=timedelta(hours=1))


def test_request_that_arrives_after_it_was_left_waits_for_nothing(database: Any) -> None:
    assert ACCOUNT.leave(database, owner="late") is None
    database.commit()
    turn = ACCOUNT.take(database, owner="late")
    assert (bool(turn), str(turn.place)) == (False, "left")
    assert ACCOUNT.take(database, owner="next")
    assert SemanticLock.forget(database, older_than=timedelta(hours=1)) == 0


def test_of_many_that_ask_at_once_one_has_the_lock(connect: Connect, database: Any) -> None:
    turns: list[bool] = []

    def ask(owner: str) -> None:
        with contextlib.closing(connect()) as connection:
            turns.append(bool(ACCOUNT.take(connection, owner=owner)))
            connection.commit()

    threads = [threading.Thread(target=ask, args=(f"owner-{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(turns) == [False] * 5 + [True]
    assert len(ACCOUNT.queue(database)) == 6


def test_owners_that_would_wait_for_each_other_are_told(database: Any) -> None:
    one, two, three = (SemanticLock(name) for name in ("x", "y", "z"))
    assert one.take(database, owner="a")
    assert two.take(database, owner="b")
    assert three.take(database, owner="c")
    assert not two.take(database, owner="a")
    assert not three.take(database, owner="b")
    database.commit()
    with pytest.raises(CircleOfWaits, match="take locks in one order"):
        one.take(database, owner="c")
    database.rollback()
    # Waiting without a circle is no circle.
    assert not three.take(database, owner="d")


def test_without_commuting_changes_one_of_two_is_lost(database: Any) -> None:
    first, second = cents(database), cents(database)
    put(database, first - 30)
    put(database, second - 20)
    assert cents(database) != 50


def test_changes_that_commute_both_count_and_are_taken_back_alone(database: Any) -> None:
    first = Change("accounts", SEVEN, {"cents": -30}, at_least={"cents": 0})
    second = Change("accounts", SEVEN, {"cents": -20}, at_least={"cents": 0})
    assert first.apply(database)
    assert second.apply(database)
    assert cents(database) == 50
    assert first.inverse.apply(database)
    assert cents(database) == 80
    assert not Change("accounts", SEVEN, {"cents": -81}, at_least={"cents": 0}).apply(database)
    assert not Change("accounts", SEVEN, {"cents": 21}, at_most={"cents": 100}).apply(database)
    assert cents(database) == 80


def test_change_of_what_is_not_there_is_refused(database: Any) -> None:
    with pytest.raises(NoRow, match="insert it with 0 first"):
        Change("accounts", {"id": 8}, {"cents": 1}).apply(database)
    database.execute("INSERT INTO accounts VALUES (8, NULL, 'open')")
    for bound in ({}, {"cents": 0}):
        with pytest.raises(NoRow):
            Change("accounts", {"id": 8}, {"cents": 1}, at_least=bound).apply(database)
    with pytest.raises(ValueError, match="2 rows"):
        Change("accounts", {"f": "open"}, {"id": 100}).apply(database)
    database.rollback()


def test_without_rereading_a_step_overwrites_what_it_did_not_see(database: Any) -> None:
    seen = cents(database)  # one step reads
    put(database, 40)  # somebody else spends
    put(database, seen - 10)  # a later step writes by what was read
    assert cents(database) != 30


def test_rereading_tells_that_a_value_changed(database: Any) -> None:
    seen = Reading.of(database, "accounts", SEVEN, "cents", "f")
    assert seen.values == {"cents": 100, "f": "open"}
    travelled = Reading.from_document(seen.as_document())
    assert travelled == seen
    travelled.check(database)
    database.commit()
    put(database, 40)
    with pytest.raises(ValueChanged, match="cents of row") as told:
        travelled.check(database)
    assert told.value.columns == ("cents",)
    database.rollback()
    database.execute("DELETE FROM accounts")
    with pytest.raises(ValueChanged):
        seen.check(database)
    database.rollback()


def test_what_was_reread_stays_until_the_transaction_ends(connect: Connect, database: Any) -> None:
    seen = Reading.of(database, "accounts", SEVEN, "cents")
    database.commit()
    seen.check(database)
    asking = threading.Event()
    done: list[int] = []

    def spend() -> None:
        with contextlib.closing(connect()) as other:
            asking.set()
            put(other, 1)
            done.append(1)

    thread = threading.Thread(target=spend)
    thread.start()
    assert asking.wait(30)
    thread.join(0.02)
    assert not done, "it did not wait"
    put(database, 90)
    thread.join(30)
    assert cents(database) == 1


OPERATIONS = {1: "open", 2: "frozen", 3: "closed"}


def test_without_a_version_file_the_last_that_arrives_counts(database: Any) -> None:
    for number in (1, 3, 2):
        database.execute(f"UPDATE accounts SET f = '{OPERATIONS[number]}'")  # noqa: S608 - ours
    assert database.execute("SELECT f FROM accounts").fetchall() == [("frozen",)]


def test_version_file_does_each_once_in_order_however_they_arrive(database: Any) -> None:
    for name, order in enumerate(permutations(OPERATIONS)):
        card = VersionFile(f"card-{name}")
        done = []
        for number in (*order, *order):
            due = card.arrive(database, number, OPERATIONS[number])
            done += [(one.number, one.content) for one in due]
            database.commit()
        assert done == list(OPERATIONS.items()), order


def test_number_that_never_comes_is_shown_and_skipped_by_hand(database: Any) -> None:
    card = VersionFile("card")
    assert not card.arrive(database, 2, "two")
    assert not card.arrive(database, 4, "four")
    assert VersionFile.missing(database, longer_than=NOW) == {"card": 1}
    assert VersionFile.missing(database, longer_than=timedelta(hours=1)) == {}
    with pytest.raises(ValueError, match="waits for 1"):
        card.skip(database, 3)
    assert [one.content for one in card.skip(database, 1)] == ["two"]
    assert not card.arrive(database, 1, "late")
    assert VersionFile.missing(database, longer_than=NOW) == {"card": 3}


def test_rolled_back_nothing_was_said(database: Any) -> None:
    assert ACCOUNT.take(database, owner="a")
    assert VersionFile("card").arrive(database, 1)
    database.rollback()
    assert ACCOUNT.take(database, owner="b")
    assert VersionFile("card").arrive(database, 1)


def test_connections_and_databases_that_cannot_do_it_are_told(
    tmp_path: Path, postgres_of_session: PostgresServer, url: str
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as bare:
        with pytest.raises(IsolationMissing, match="moreton_lock_name"):
            ACCOUNT.take(bare, owner="a")
        with pytest.raises(IsolationMissing, match="moreton_version_next"):
            VersionFile("card").arrive(bare, 1)
    missing = pytest.raises(IsolationMissing, match="moreton_lock_name")
    with psycopg.connect(postgres_of_session.new_database()) as other, missing:
        ACCOUNT.take(other, owner="a")
    with psycopg.connect(url, autocommit=True) as alone, pytest.raises(OutsideTransaction):
        ACCOUNT.take(alone, owner="a")
    with pytest.raises(TypeError, match="connection is none of"):
        ACCOUNT.take(object(), owner="a")


async def test_asynchronous_connections_and_sessions_do_the_same(url: str) -> None:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("CREATE TABLE IF NOT EXISTS a (id INTEGER, n NUMERIC)")
        for statement in schema("postgresql"):
            await connection.execute(statement.encode())
        await connection.execute("INSERT INTO a VALUES (7, 1)")
        lock = SemanticLock("async")
        assert await lock.take_async(connection, owner="a")
        assert not await lock.take_async(connection, owner="b")
        assert await lock.leave_async(connection, owner="a")
        seen = await Reading.of_async(connection, "a", SEVEN, "n")
        await seen.check_async(connection)
        assert await Change("a", SEVEN, {"n": Decimal("0.5")}).apply_async(connection)
        with pytest.raises(ValueChanged):
            await seen.check_async(connection)
        assert await VersionFile("a").arrive_async(connection, 1)
        await connection.rollback()


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_session_of_sqlalchemy_does_the_same(kind: str, url: str, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'a.db'}"
    if kind == "postgres":
        address = url.replace("postgresql:", "postgresql+psycopg:")
    engine = sqlalchemy.create_engine(address)
    with Session(engine) as session:
        install(session)
        session.execute(sqlalchemy.text("CREATE TABLE b (id INTEGER, n INTEGER)"))
        session.execute(sqlalchemy.text("INSERT INTO b VALUES (7, 1)"))
        assert SemanticLock("alchemy").take(session, owner="a")
        seen = Reading.of(session, "b", SEVEN, "n")
        assert Change("b", SEVEN, {"n": 1}).apply(session)
        with pytest.raises(ValueChanged):
            seen.check(session)
        assert VersionFile("alchemy").arrive(session, 1)
        session.rollback()
    engine.dispose()


def test_what_cannot_be_meant_is_refused() -> None:
    for table in ("accounts; DROP TABLE x", "", 'a"b', "a.b.c"):
        with pytest.raises(ValueError, match="give a name"):
            Change(table, SEVEN, {"cents": 1})
    with pytest.raises(ValueError, match="names a column 'cents = 0, x'"):
        Change("accounts", SEVEN, {"cents = 0, x": 1})
    with pytest.raises(TypeError, match="an int or a Decimal"):
        Change("accounts", SEVEN, {"cents": 0.5})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="NULL names no row"):
        Change("accounts", {"id": None}, {"cents": 1})
    with pytest.raises(ValueError, match="not changed"):
        Change("accounts", SEVEN, {"cents": 1}, at_least={"id": 1})
    with pytest.raises(ValueError, match="0 columns"):
        Change("accounts", {}, {"cents": 1})
    with pytest.raises(ValueError, match="as_document"):
        Reading.from_document({"table": "a"})
    with pytest.raises(ValueError, match="number is 0"):
        VersionFile("a").arrive(None, 0)
    with pytest.raises(TypeError, match="as JSON"):
        ACCOUNT.take(None, owner="a", note=object())
