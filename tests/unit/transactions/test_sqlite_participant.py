"""An SQLite file that prepares: what was done is what is there afterwards, and nothing between."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from moreton.transactions.twophase import SqliteParticipant, TwoPhase, open_decisions
from moreton.transactions.twophase.errors import HeldByPrepared, PrepareRefused

SCHEMA = """
CREATE TABLE plain (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB, weight REAL);
CREATE TABLE "odd ""name" (rowid TEXT, "a'b" TEXT);
CREATE TABLE pairs (a TEXT, b INTEGER, c, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE parent (id INTEGER PRIMARY KEY);
CREATE TABLE child (
    id INTEGER PRIMARY KEY AUTOINCREMENT, parent INTEGER REFERENCES parent ON DELETE CASCADE,
    twice INTEGER GENERATED ALWAYS AS (parent * 2) STORED
);
CREATE TABLE later (
    parent INTEGER REFERENCES parent DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE journal (text TEXT);
CREATE TRIGGER noted AFTER INSERT ON plain BEGIN
    INSERT INTO journal VALUES ('made ' || NEW.name);
    UPDATE plain SET weight = weight + 1 WHERE id = NEW.id;
END;
CREATE VIRTUAL TABLE words USING fts5(text);
INSERT INTO parent VALUES (1), (2);
INSERT INTO child (parent) VALUES (1), (1), (2);
INSERT INTO plain VALUES (1, 'one', x'00ff', 0.1), (2, 'two', NULL, 1e300);
INSERT INTO pairs VALUES ('a', 1, 'x'), ('a' || char(0) || 'b', 2, 2.5);
INSERT INTO "odd ""name" VALUES ('r', 's');
"""
TABLES = ("plain", '"odd ""name"', "pairs", "parent", "child", "later", "journal")
WORK: list[tuple[str, Any]] = [
    ("INSERT INTO plain (name, weight) VALUES (?, ?)", ("ä\0b", 0.1 + 0.2)),
    ("INSERT OR REPLACE INTO plain VALUES (7, 'one', x'01', -0.0)", ()),
    ("UPDATE plain SET id = id + 100 WHERE name = 'two'", ()),
    ("INSERT OR ABORT INTO pairs VALUES ('n', 9, NULL)", ()),
    ("UPDATE pairs SET c = c || '!' WHERE b = 2", ()),
    ("DELETE FROM pairs WHERE a = 'a'", ()),
    ("INSERT INTO pairs VALUES ('n', 9, 1) ON CONFLICT DO UPDATE SET c = 'up'", ()),
    ("DELETE FROM parent WHERE id = 1", ()),
    ("INSERT INTO child (parent) VALUES (2)", ()),
    ("DELETE FROM child WHERE id = 4", ()),
    ('UPDATE "odd ""name" SET "a\'b" = \'t\', rowid = \'q\'', ()),
    ("INSERT INTO later VALUES (3)", ()),
    ("INSERT INTO parent VALUES (3)", ()),
]


def contents(path: Path) -> list[list[Any]]:
    connection = sqlite3.connect(path)
    try:
        rows = (connection.execute(f"SELECT * FROM {one}") for one in TABLES)  # noqa: S608 - ours
        return [sorted(map(repr, found)) for found in rows]
    finally:
        connection.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.executescript(SCHEMA)
    connection.close()
    return tmp_path / "shop.db"


@pytest.fixture
def participant(path: Path) -> Iterator[SqliteParticipant]:
    participant = SqliteParticipant("shop", path, patience=timedelta(milliseconds=50))
    yield participant
    participant.close()


def do_all(connection: Any) -> None:
    for sql, values in WORK:
        connection.execute(sql, values)


def test_what_is_committed_is_what_an_ordinary_transaction_leaves(
    path: Path, participant: SqliteParticipant, tmp_path: Path
) -> None:
    before = contents(path)
    ordinary = sqlite3.connect(tmp_path / "twin.db")
    ordinary.executescript(SCHEMA)
    ordinary.execute("PRAGMA foreign_keys = ON")
    do_all(ordinary)
    ordinary.commit()
    ordinary.close()
    branch = participant.begin("g")
    do_all(branch.connection)
    branch.prepare()
    assert contents(path) == before, "others see what is not committed"
    assert participant.commit("g")
    assert contents(path) == contents(tmp_path / "twin.db") != before
    again = participant.begin("h")
    again.connection.execute("INSERT INTO plain (name, weight) VALUES ('t', 1)")
    again.commit()
    assert ["('made t',)" in one for one in contents(path)][-1], "the triggers are not back"


def test_what_is_rolled_back_leaves_nothing(path: Path, participant: SqliteParticipant) -> None:
    before = contents(path)
    branch = participant.begin("g")
    do_all(branch.connection)
    branch.prepare()
    assert participant.rollback("g")
    assert not participant.rollback("g")
    assert not participant.commit("g")
    assert contents(path) == before


def test_a_file_that_waits_refuses_every_writer(path: Path, participant: SqliteParticipant) -> None:
    branch = participant.begin("moreton:a:b:shop")
    branch.connection.execute("DELETE FROM journal")
    branch.connection.execute("INSERT INTO journal VALUES ('x')")
    branch.prepare()
    other = sqlite3.connect(path)
    for sql in ("INSERT INTO parent VALUES (9)", "UPDATE plain SET weight = 0",
                "DELETE FROM pairs"):  # fmt: skip
        with pytest.raises(sqlite3.IntegrityError, match="waits for the decision"):
            other.execute(sql)
    other.rollback()
    with pytest.raises(HeldByPrepared, match="moreton:a:b:shop"):
        participant.begin("g")
    with pytest.raises(HeldByPrepared):
        participant.uninstall()
    assert participant.rollback("moreton:a:b:shop")
    other.execute("INSERT INTO parent VALUES (9)")
    other.rollback()
    participant.uninstall()
    names = [name for (name,) in other.execute("SELECT name FROM sqlite_master")]
    assert not [name for name in names if name.startswith("moreton")]
    other.close()


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("COMMIT", "leave the block"),
        ("ROLLBACK", "leave the block"),
        ("CREATE TABLE t (a)", "the schema cannot change"),
        ("INSERT INTO words VALUES ('x')", "virtual table"),
        ("ATTACH ':memory:' AS other", "no file can be attached"),
        ("PRAGMA foreign_keys = OFF", "cannot be set"),
        ("RELEASE moreton_work", "not the work's"),
        ("INSERT INTO moreton_prepared VALUES ('g', 0)", "what says what is prepared"),
    ],
)
def test_what_cannot_be_carried_is_refused_with_the_reason(
    participant: SqliteParticipant, sql: str, why: str
) -> None:
    branch = participant.begin("g")
    with pytest.raises(sqlite3.DatabaseError) as refused:
        branch.connection.execute(sql)
    assert why in refused.value.__notes__[0]
    with pytest.raises(sqlite3.DatabaseError) as refused:
        branch.connection.commit()
    assert "leave the block" in refused.value.__notes__[0]
    branch.connection.execute("INSERT INTO journal VALUES ('still here')")
    branch.commit()


def test_a_deferred_reference_to_nothing_cannot_be_prepared(
    path: Path, participant: SqliteParticipant
) -> None:
    before = contents(path)
    branch = participant.begin("g")
    branch.connection.execute("INSERT INTO later VALUES (77)")
    with pytest.raises(PrepareRefused, match="'later' refers to none of 'parent'"):
        branch.prepare()
    assert contents(path) == before
    participant.begin("h").rollback()


def test_a_table_that_is_made_later_takes_part(path: Path, participant: SqliteParticipant) -> None:
    participant.begin("g").rollback()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE fresh (a)")
    connection.commit()
    branch = participant.begin("g")
    branch.connection.execute("INSERT INTO fresh VALUES (1)")
    branch.prepare()
    with pytest.raises(sqlite3.IntegrityError, match="waits"):
        connection.execute("INSERT INTO fresh VALUES (2)")
    connection.rollback()
    participant.commit("g")
    assert connection.execute("SELECT a FROM fresh").fetchall() == [(1,)]
    connection.close()


@pytest.mark.parametrize("name", ["", "a:b", "ä", "x" * 65, "a b"])
def test_a_name_that_cannot_be_in_a_gid_is_refused(name: str, path: Path) -> None:
    with pytest.raises(ValueError, match="give"):
        SqliteParticipant(name, path)


def test_threads_take_turns_and_a_turn_that_never_ends_is_passed_over(path: Path) -> None:
    patient = SqliteParticipant("shop", path, patience=timedelta(seconds=20))
    orders: list[int] = []

    def work(number: int) -> None:
        branch = patient.begin(f"g{number}")
        branch.connection.execute("INSERT INTO journal VALUES (?)", (number,))
        branch.prepare()
        orders.append(number)
        assert patient.commit(f"g{number}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert sorted(orders) == list(range(8))
    patient.close()
    impatient = SqliteParticipant("shop", path, patience=timedelta(milliseconds=20))
    other = SqliteParticipant("shop", path)
    impatient.begin("left").prepare()
    with pytest.raises(HeldByPrepared):
        impatient.begin("next")
    assert other.rollback("left")  # by a resolver in another process
    for _ in range(2):
        impatient.begin("next").rollback()
    impatient.close()
    other.close()


@pytest.mark.parametrize("also", ["UPDATE plain SET weight = 7", "SELECT 1"])
@pytest.mark.parametrize("alone", [False, True])
def test_work_that_hid_that_it_was_rolled_back_changes_nothing(
    path: Path, tmp_path: Path, also: str, *, alone: bool
) -> None:
    before = contents(path)
    participant = SqliteParticipant("shop", path)
    other = SqliteParticipant("other", tmp_path / "other.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE plain (id INTEGER)")
    connection.close()
    log = open_decisions(f"sqlite:///{tmp_path / 'log.db'}")
    two_phase = TwoPhase(log, participant, other)
    with pytest.raises(PrepareRefused, match="rolled it back"), two_phase.begin() as work:  # noqa: PT012
        if not alone:
            work["other"].execute("INSERT INTO plain VALUES (1)")
        work["shop"].execute("UPDATE plain SET weight = 6")
        with contextlib.suppress(sqlite3.IntegrityError):
            work["shop"].execute("INSERT OR ROLLBACK INTO parent VALUES (1)")
        with contextlib.suppress(sqlite3.IntegrityError):
            work["shop"].execute(also)
    assert contents(path) == before
    with two_phase.begin() as work:
        work["shop"].execute("UPDATE plain SET weight = 8")
        work["other"].execute("INSERT INTO plain VALUES (1)")
    assert contents(path) != before
    two_phase.close()
    log.close()
