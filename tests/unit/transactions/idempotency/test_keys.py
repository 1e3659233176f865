"""Keys as the draft has them, what is kept, and what a repetition finds."""

from __future__ import annotations

import pytest

from moreton.transactions.idempotency.core.claims import (
    Interrupted,
    Kept,
    Mismatch,
    Replay,
    TakeOver,
    Unknown,
    Wait,
    judge,
)
from moreton.transactions.idempotency.core.keys import (
    NotAKey,
    Stored,
    fingerprint,
    is_final,
    kept_fields,
    read_key,
)

STORED = Stored(201, (), b"made")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('  "a b" ', "a b"),
        (r'"a\"b\\c"', r"a\"b\c".replace('\\"', '"')),
        ('"a";p=1', "a"),
        ("8e03978e-40d5", "8e03978e-40d5"),
    ],
)
def test_a_key_is_a_structured_string_or_bare(value: str, key: str) -> None:
    assert read_key(value) == key


@pytest.mark.parametrize("value", ["", '""', '"a', "a b", '"ä"', "x" * 201, '"a"b', "a,b"])
def test_what_is_no_key_is_refused(value: str) -> None:
    with pytest.raises(NotAKey):
        read_key(value)


def test_requests_differ_in_any_part() -> None:
    parts = [
        ("POST", "/a", "t", b"x"),
        ("PATCH", "/a", "t", b"x"),
        ("POST", "/ab", "t", b"x"),
        ("POST", "/a", "bt", b"x"),
        ("POST", "/a", "", b"tx"),
        ("POST", "/a", "t", b""),
    ]
    assert len({fingerprint(*one) for one in parts}) == len(parts)
    assert fingerprint("post", "/a", "t", b"x") == fingerprint("POST", "/a", "t", b"x")


@pytest.mark.parametrize("status", [200, 201, 204, 303, 400, 403, 404, 422])
def test_an_outcome_is_kept(status: int) -> None:
    assert is_final(status)


@pytest.mark.parametrize("status", [401, 408, 409, 425, 429, 500, 502, 503])
def test_what_says_not_now_is_not_kept(status: int) -> None:
    assert not is_final(status)


def test_no_session_is_handed_on() -> None:
    fields = [("Content-Type", "text/plain"), ("Set-Cookie", "s=1"), ("Date", "today")]
    assert kept_fields(fields) == (("Content-Type", "text/plain"),)


def test_a_repetition_finds_what_became_of_the_first() -> None:
    running = Kept("f", "t", 5_000, 0, None)
    refuse, rerun = Interrupted.REFUSE, Interrupted.RERUN
    assert judge(running, "other", 0, refuse) == Mismatch()
    assert judge(running, "f", 3_500, refuse) == Wait(2)
    assert judge(running, "f", 5_000, refuse) == Unknown()
    assert judge(running, "f", 5_000, rerun) == TakeOver("t")
    assert judge(Kept("f", "t", 0, 201, STORED), "f", 0, refuse) == Replay(STORED)
    assert judge(Kept("f", "t", 0, 201, None), "f", 0, rerun) == Unknown(201)
