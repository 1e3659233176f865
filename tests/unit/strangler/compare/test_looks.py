"""Noise has a look: what does not have it is told of, though the place is noisy."""

from __future__ import annotations

import json
import random
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from moreton.strangler.compare.core.differences import ABSENT, Comparison, Difference, Kind, Shape
from moreton.strangler.compare.core.noise.learning import QUIET_MAX, Noise, Verdict
from moreton.strangler.compare.core.noise.looks import (
    Looks,
    Sorts,
    form_of,
    looks_document,
    looks_from,
)
from moreton.strangler.compare.sqlite import Differences

PAGE = "GET /page"
NOTHING = Comparison()
START = datetime(2026, 11, 27, 8, tzinfo=UTC)


def at(one: str, other: str, path: str = "$.v", kind: Kind = Kind.VALUE) -> Comparison:
    return Comparison((Difference(path, kind, one, other),))


def learned(pairs: list[tuple[str, str]], kind: Kind = Kind.VALUE) -> Noise:
    noise = Noise()
    for pair in pairs:
        noise.learn(PAGE, at(*pair, kind=kind), NOTHING)
    return noise


def verdict(noise: Noise, one: str, other: str, kind: Kind = Kind.VALUE) -> Verdict:
    sorted_ = noise.sort(PAGE, at(one, other, kind=kind).differences)
    return next(verdict for verdict, found in sorted_.items() if found)


def tokens(count: int) -> list[tuple[str, str]]:
    rng = random.Random(3)
    return [(f"{rng.getrandbits(64):016x}", f"{rng.getrandbits(64):016x}") for _ in range(count)]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("£12.50", "£9.9"),
        ("-3", "-9"),
        ("0.4717822911936534", "9.9"),
        ("f288d745ee5e52c4", "x16"),
        ("7513694436207587", "x16"),
        ("b7", "x"),
        ("The Little Book of Figs", "a"),
        ("", ""),
        ("2026-11-27T08:00:00.123Z", "moment"),
        ("Fri, 27 Nov 2026 08:00:00 GMT", "moment"),
        ("2026-13-45T99:00:00", "9-9-x:9:9"),
    ],
)
def test_a_form_is_what_a_value_looks_like(text: str, form: str) -> None:
    assert form_of(text) == form


def test_a_token_that_is_none_is_told_of_and_another_token_is_not() -> None:
    noise = learned(tokens(25))
    assert verdict(noise, *tokens(30)[-1]) is Verdict.NOISE
    assert verdict(noise, tokens(1)[0][0], "None") is Verdict.KEEP
    assert verdict(learned(tokens(15)), tokens(1)[0][0], "None") is Verdict.NOISE, "too soon"


def test_a_price_among_times_is_told_of() -> None:
    times = [(f"08:{n:02}:00", f"08:{n:02}:01") for n in range(30)]
    assert verdict(learned(times), "£9.99", "£10.99") is Verdict.KEEP


def test_one_of_few_values_is_noise_and_another_is_not() -> None:
    rng = random.Random(5)
    cards = [f"£{n}.99" for n in range(8)]
    noise = learned([(rng.choice(cards), rng.choice(cards)) for _ in range(60)])
    assert verdict(noise, "£3.99", "£7.99") is Verdict.NOISE
    assert verdict(noise, "£3.99", "£39.90") is Verdict.KEEP


def test_what_comes_and_goes_is_known_by_what_it_is() -> None:
    banners = [(ABSENT, f"<div class='{name}'>") for name in ("a", "b") * 30]
    noise = learned(banners, Kind.EXTRA)
    assert verdict(noise, ABSENT, "<div class='a'>", Kind.EXTRA) is Verdict.NOISE
    assert verdict(noise, ABSENT, "<div class='debug'>", Kind.EXTRA) is Verdict.KEEP


def test_a_clock_in_another_zone_is_told_of_and_a_late_one_is_not() -> None:
    moments = [START + timedelta(minutes=n) for n in range(30)]
    noise = learned([(m.isoformat(), (m + timedelta(seconds=1)).isoformat()) for m in moments])
    late, zone = START + timedelta(seconds=30), START + timedelta(hours=1)
    assert verdict(noise, START.isoformat(), late.isoformat()) is Verdict.NOISE
    assert verdict(noise, START.isoformat(), zone.isoformat()) is Verdict.KEEP


def test_counters_of_two_databases_are_noise_however_far_apart() -> None:
    noise = learned([(str(n), str(n + 1)) for n in range(100, 400)])
    assert verdict(noise, "400", "12") is Verdict.NOISE


def test_a_sort_that_was_seen_once_says_that_there_are_more() -> None:
    sorts = Sorts(9)
    for sort in ["a"] * 100:
        sorts.add(sort)
    assert sorts.is_strange("b")
    sorts.add("c")
    assert not sorts.is_strange("b")
    for number in range(9):
        sorts.add(str(number))
    assert sorts.open, "more sorts than are remembered"
    assert not sorts.is_strange("b")


def test_what_people_said_outweighs_looks() -> None:
    noise = learned(tokens(25))
    noise.say(Shape(PAGE, "$.v", Kind.VALUE), Verdict.NOISE, "may be anything")
    assert verdict(noise, tokens(1)[0][0], "None") is Verdict.NOISE


def test_a_change_of_data_while_asking_does_not_blind() -> None:
    noise = learned([("3", "4")])
    for _ in range(600):
        noise.learn(PAGE, NOTHING, NOTHING)
    assert verdict(noise, "3", "5") is Verdict.KEEP


def test_a_candidate_that_was_mended_is_taken_for_that() -> None:
    noise = learned([("a", "b")] * 3)
    for _ in range(30):
        noise.learn(PAGE, NOTHING, at("a", "c"))
    shape = Shape(PAGE, "$.v", Kind.VALUE)
    assert noise.is_proven(shape)
    for _ in range(QUIET_MAX):
        noise.learn(PAGE, NOTHING, NOTHING)
    assert not noise.is_proven(shape)


def test_looks_are_there_after_a_restart_and_values_are_kept_as_marks(tmp_path: Path) -> None:
    file = tmp_path / "kept.sqlite"
    noise = Noise(lambda text: f"<{len(text)}>")
    for pair in tokens(25):
        noise.learn(PAGE, at(*pair), NOTHING)
    with Differences(file) as kept:
        kept.save_noise(noise)
        again = Noise()
        kept.load_noise(again)
    assert verdict(again, tokens(1)[0][0], "None") is Verdict.KEEP
    with closing(sqlite3.connect(file)) as opened:
        (written,) = opened.execute("SELECT looks FROM noise").fetchone()
    assert tokens(1)[0][0] not in written
    assert json.loads(written)["values"] == {"<16>": 50}


def test_a_file_of_the_version_before_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    Differences(path).close()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute("ALTER TABLE noise DROP COLUMN looks")
        file.execute("INSERT INTO noise VALUES (1, 'GET /', '$.v', 'value', 1, 0, 0, 0, '', '')")
        file.execute("CREATE TABLE rules (path TEXT, treatment TEXT, because TEXT, made REAL)")
        file.execute("INSERT INTO rules VALUES ('$.at', 'ignore', 'is now', 1)")
        file.execute("PRAGMA user_version = 2")
    with Differences(path) as kept:
        assert len(kept.learned()) == 1
        assert [rule.path for rule in kept.rules("any")] == ["$.at"]


def test_a_document_of_looks_is_read_as_it_was() -> None:
    looks = Looks()
    looks.add("2026-11-27T08:00:00Z", "2026-11-27T08:00:02Z", ("1", "2"))
    again = looks_from(looks_document(looks))
    assert (again.forms, again.values, again.apart) == (looks.forms, looks.values, looks.apart)
