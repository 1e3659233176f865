"""What statements of SQL change, by their text."""

from __future__ import annotations

import pytest

from moreton.strangler.agent.core.statements import ends_of, redacted, writes_of
from moreton.strangler.agent.recording import Recording
from moreton.strangler.agent.watching.blocking import Blocked
from moreton.strangler.agent.watching.sql import note_sql

READS = [
    "SELECT 1",
    'SELECT "a"."id", COUNT(*) FROM "a" WHERE "a"."name" LIKE %s GROUP BY 1 ORDER BY 2 LIMIT 3',
    "select 'insert into x' as word, \"update\" from logs where note = 'delete; drop table y'",
    "SELECT * FROM t WHERE id IN (1, 2) AND EXISTS (SELECT 1 FROM u WHERE u.id = t.id)",
    "WITH RECURSIVE up(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM up) SELECT n FROM up",
    "SELECT x.a FROM (VALUES (1, 2)) AS x(a, b)",
    "SELECT CAST(price AS NUMERIC(10, 2)), replace(title, 'a', 'b'), now() FROM book",
    "SELECT date_trunc('day', at), jsonb_array_elements(doc) FROM log -- UPDATE log",
    "/* INSERT INTO a */ SELECT django_datetime_trunc('day', at, 'UTC', 'UTC') FROM log",
    "SELECT sum(x) OVER (PARTITION BY y ORDER BY z) FROM t",
    "EXPLAIN SELECT 1",
    "SAVEPOINT s1",
    "RELEASE SAVEPOINT s1",
    "BEGIN IMMEDIATE",
    "PRAGMA foreign_keys = ON",
    "PRAGMA table_info('x')",
    "SET search_path TO shop",
    "(SELECT 1) UNION (SELECT 2)",
    "COPY (SELECT * FROM t) TO STDOUT",
    "",
    " ; ",
]
WRITES = {
    'INSERT INTO "order_order" ("number") VALUES (%s) RETURNING "id"': ["INSERT order_order"],
    "INSERT OR REPLACE INTO kv VALUES (?, ?)": ["INSERT kv"],
    "REPLACE INTO kv VALUES (1)": ["REPLACE kv"],
    "UPDATE `shop`.`basket` SET n = 1": ["UPDATE basket"],
    "update only book set title = 'x'": ["UPDATE book"],
    "DELETE FROM [cart] WHERE id = 1": ["DELETE cart"],
    "TRUNCATE TABLE log": ["TRUNCATE log"],
    "CREATE TEMPORARY TABLE IF NOT EXISTS seen (id int)": ["CREATE TABLE seen"],
    "DROP INDEX by_name": ["DROP INDEX by_name"],
    "SELECT * FROM basket WHERE id = 1 FOR UPDATE": ["LOCK basket"],
    "SELECT * FROM basket FOR NO KEY UPDATE SKIP LOCKED": ["LOCK basket"],
    "SELECT * INTO copy FROM basket": ["SELECT INTO copy"],
    "WITH gone AS (DELETE FROM cart RETURNING *) SELECT * FROM gone": ["DELETE cart"],
    "WITH a AS (SELECT 1) INSERT INTO b SELECT * FROM a": ["INSERT b"],
    "SELECT nextval('order_id_seq')": ["CALL nextval()"],
    "SELECT pg_advisory_lock(1)": ["CALL pg_advisory_lock()"],
    "SELECT charge_card(%s)": ["CALL charge_card()"],
    'SELECT "shop"."Charge"(1)': ["CALL charge()"],
    "CALL settle(1)": ["CALL settle"],
    "EXPLAIN ANALYZE DELETE FROM cart": ["DELETE cart"],
    "SELECT 1; DELETE FROM cart": ["DELETE cart"],
    "PRAGMA user_version = 3": ["PRAGMA user_version"],
    "COPY book FROM STDIN": ["COPY book"],
    "VACUUM": ["VACUUM ?"],
    "SET GLOBAL read_only = 1": ["SET GLOBAL"],
    "42": ["an unreadable statement"],
    # Where a backslash escapes, the string ends later; where it does not, what follows is real.
    r"SELECT '\'; DELETE FROM cart; --'": ["DELETE cart"],
    "SELECT $$ ' $$; DELETE FROM cart": ["DELETE cart"],
}


@pytest.mark.parametrize("sql", READS)
def test_what_only_reads_changes_nothing(sql: str) -> None:
    assert writes_of(sql) == ()


@pytest.mark.parametrize("sql", WRITES)
def test_what_changes_something_is_named_with_its_table(sql: str) -> None:
    assert list(writes_of(sql)) == WRITES[sql]


def test_a_long_statement_is_read_and_not_remembered() -> None:
    rows = "(1, 2), " * 10_000
    assert writes_of("INSERT INTO t VALUES " + rows + "(3, 4)") == ("INSERT t",)  # noqa: S608 - text


def test_an_example_has_no_values_and_is_short() -> None:
    example = redacted("UPDATE card\n SET no = '4111 1111', n = 5 WHERE " + "a" * 900)
    assert example.startswith("UPDATE card SET no = ?, n = ? WHERE aaa")
    assert len(example) == 300


ENDS = {
    "COMMIT": "COMMIT",
    "commit\n": "COMMIT",
    "/* no */ COMMIT;": "COMMIT",
    "-- no\nEND": "END",
    "SELECT 1; COMMIT": "COMMIT",
    "ROLLBACK": "ROLLBACK",
    "START TRANSACTION": "START",
    "SET autocommit = 1": "SET",
    "LOCK TABLES cart WRITE": "LOCK",
    "PREPARE TRANSACTION 'x'": "PREPARE",
    r"SELECT '\'; COMMIT; --'": "COMMIT",
}
STAY = ["CREATE TABLE t (n int)", "TRUNCATE t", "CALL settle(1)", "SELECT charge_card(1)", "DO 1",
        "SELECT * INTO OUTFILE '/x' FROM t", "EXECUTE x", "NOTIFY x", "VACUUM", "COPY t FROM STDIN",
        "PRAGMA user_version = 3", "42", "INSERT INTO t SELECT pay(1)"]  # fmt: skip
TAKEN_BACK = ["INSERT INTO t VALUES (1)", "SELECT * FROM t FOR UPDATE", "SELECT 1",
              "SELECT nextval('s')", "SAVEPOINT a", "ROLLBACK TO SAVEPOINT a",
              "RELEASE SAVEPOINT a"]  # fmt: skip


@pytest.mark.parametrize("sql", ENDS)
def test_what_ends_a_transaction_is_known_wherever_it_stands(sql: str) -> None:
    assert ends_of(sql) == ENDS[sql]


@pytest.mark.parametrize("sql", [*ENDS, *STAY])
def test_a_dry_run_runs_nothing_that_a_rollback_may_not_take_back(sql: str) -> None:
    with pytest.raises(Blocked):
        note_sql(Recording(dry=True), sql, is_taken_back=True)


@pytest.mark.parametrize("sql", TAKEN_BACK)
def test_a_dry_run_runs_what_a_rollback_takes_back(sql: str) -> None:
    recording = Recording(dry=True)
    note_sql(recording, sql, is_taken_back=True)
    assert recording.blocked == []
