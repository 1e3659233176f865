"""Writes as they are compared, and how they travel."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moreton.strangler.agent import read_told
from moreton.strangler.agent.core.packing import CHARS_MAX, Writes, grouped, pack, unpack
from moreton.strangler.agent.core.standing import Standing, Told, read_target, write_told
from moreton.strangler.agent.core.writes import rows_of

ROWS: list[tuple[str, Any, list[dict[str, Any]]]] = [
    (
        'INSERT INTO "order_order" ("number", "total") VALUES (%s, %s), (%s, %s) RETURNING "id"',
        ("1", 2, "3", 4),
        [{"number": "1", "total": 2}, {"number": "3", "total": 4}],
    ),
    ("INSERT INTO cart (n, m) VALUES (:n, :m)", {"n": 1, "m": "x"}, [{"n": 1, "m": "x"}]),
    ("INSERT INTO cart (n) VALUES (?)", [(1,), (2,)], [{"n": 1}, {"n": 2}]),
    (
        "INSERT INTO cart (n, t) VALUES (%(n)s::INTEGER, now())",
        {"n": 1},
        [{"n": 1, "t": "now ( )"}],
    ),
    ("INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = 1", ["q"], [{"a": "q"}]),
    (
        'UPDATE "a" SET "n" = %s, "m" = ("a"."m" + %s) WHERE ("a"."id" = %s AND x IN (%s))',
        (1, 2, 3, 4),
        [{"n": 1, "m": "( m + 2 )", "where": "id = 3 and x in ( 4 )"}],
    ),
    ("UPDATE t SET a='it''s', b=NULL", None, [{"a": "it's", "b": None}]),
    ('DELETE FROM "t" WHERE "t"."id" IN (%s)', (3,), [{"where": "id in ( 3 )"}]),
    ("DELETE FROM t", None, [{}]),
    ("INSERT INTO cart VALUES (1)", None, [{"statement": "insert into cart values ( 1 )"}]),
    (
        "INSERT INTO a (x) SELECT y FROM b",
        None,
        [{"statement": "insert into a ( x ) select y from b"}],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "values", "rows"), ROWS)
def test_a_statement_is_read_as_the_columns_that_it_sets(
    sql: str, values: Any, rows: list[dict[str, Any]]
) -> None:
    assert rows_of(sql, values) == rows


def test_two_orms_that_say_the_same_are_read_as_the_same() -> None:
    django = rows_of('UPDATE "a" SET "x" = %s WHERE "a"."id" = %s', (1, 2))
    alchemy = rows_of("UPDATE a SET x=? WHERE a.id = ?", (1, 2))
    assert django == alchemy


@settings(max_examples=40)
@given(st.text(max_size=60), st.none() | st.lists(st.integers(), max_size=3))
def test_no_statement_is_too_odd_to_be_read(sql: str, values: Any) -> None:
    for verb in ("", "INSERT INTO t ", "UPDATE t SET ", "DELETE FROM t WHERE "):
        assert isinstance(rows_of(verb + sql, values), list)


def test_writes_travel_in_a_header_field_as_they_are() -> None:
    found = Writes([{"what": "insert t", "values": {"a": "ä", "b": None}}], blocked=["http POST x"])
    told = read_told(write_told(Told('GET /"x"', Standing.WROTE, pack(found))))
    assert (told.endpoint, told.standing) == ('GET /"x"', Standing.WROTE)
    assert unpack(told.writes) == found
    assert grouped(found) == {"insert t": [{"a": "ä", "b": None}]}


def test_more_writes_than_a_field_takes_are_cut_and_that_is_told() -> None:
    noise = random.Random(1)
    many = [{"what": "insert t", "values": {"a": noise.randbytes(300).hex()}} for _ in range(200)]
    packed = pack(Writes(many))
    assert len(packed) <= CHARS_MAX
    found = unpack(packed)
    assert found is not None
    assert found.more
    assert 0 < len(found.writes) < 200


@pytest.mark.parametrize("value", ["", "x", "eJw=", "AAAA", "=" * 9, "eJyrVkosLcmILwAAF9kEzA=="])
def test_what_are_no_writes_are_none(value: str) -> None:
    assert unpack(value) is None


@pytest.mark.parametrize(
    "value", ["", "GET", "GET ", "get /", "GET /a b", "GET http://x/", "GET /\r\nx: y", "POST a"]
)
def test_what_names_no_request_is_not_run(value: str) -> None:
    assert read_target(value) is None


def test_a_target_is_a_method_a_path_and_a_query() -> None:
    assert read_target("POST /a/b%20c?x=1&y=?") == ("POST", "/a/b%20c", "x=1&y=?")
