"""Evidence of several processes in one file, and what follows from it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from moreton.strangler.agent import Effect, Effects, Harmless, Kind, Standing, read_told
from moreton.strangler.agent.core.standing import Told, write_told
from moreton.strangler.agent.errors import EffectsUnreadable
from moreton.strangler.agent.ledger import FLUSH_SECONDS, Ledger
from moreton.strangler.agent.sqlite import EFFECTS_PER_ENDPOINT_MAX

INSERT = {Effect(Kind.SQL, "INSERT order_order"): "INSERT INTO order_order VALUES (?)"}
LIST = "GET /catalogue/"


class Clock:
    """A time that passes when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Effects:
    return Effects(tmp_path / "deep" / "effects.sqlite")


def ledger(file: Effects, clock: Clock | None = None, **more: object) -> Ledger:
    given = {"release": "", "seen_min": 3, "harmless": (), **more}
    return Ledger(file, clock=clock or Clock(), **given)  # type: ignore[arg-type]


def test_an_endpoint_is_safe_once_enough_requests_were_seen_and_none_wrote(file: Effects) -> None:
    process = ledger(file)
    found = [process.settle(LIST, {}) for _ in range(4)]
    assert found == [Standing.UNKNOWN, Standing.UNKNOWN, Standing.SAFE, Standing.SAFE]
    assert process.settle("GET /other/", {}) is Standing.UNKNOWN


def test_one_that_wrote_once_writes_from_then_on(file: Effects) -> None:
    process = ledger(file)
    for _ in range(5):
        process.settle(LIST, {})
    assert process.settle(LIST, INSERT) is Standing.WROTE
    assert process.settle(LIST, {}) is Standing.WRITES


def test_a_write_nobody_saw_before_is_in_the_file_when_it_is_settled(file: Effects) -> None:
    clock = Clock()
    process = ledger(file, clock)
    process.settle(LIST, {})
    assert file.endpoints()[0].seen == 1
    process.settle(LIST, {})
    assert file.endpoints()[0].seen == 1, "counts wait a second"
    process.settle(LIST, INSERT)
    (known,) = file.endpoints()
    assert (known.seen, known.wrote, known.standing()) == (3, 1, Standing.WRITES)
    assert not file.may_copy(LIST, seen_min=1)


def test_another_process_knows_of_a_write_a_second_later(file: Effects) -> None:
    clock = Clock()
    one, other = ledger(file, clock), ledger(file, clock)
    for _ in range(3):
        other.settle(LIST, {})
    assert other.standing(LIST) is Standing.SAFE
    one.settle(LIST, INSERT)
    clock.now += FLUSH_SECONDS
    assert other.settle(LIST, {}) is Standing.WRITES


def test_requests_of_all_processes_count_together(file: Effects) -> None:
    clock = Clock()
    one, other = ledger(file, clock), ledger(file, clock)
    one.settle(LIST, {})
    other.settle(LIST, {})
    clock.now += FLUSH_SECONDS
    one.settle(LIST, {})
    assert one.standing(LIST) is Standing.SAFE


def test_harmless_effects_do_not_count_and_are_shown_with_their_reason(file: Effects) -> None:
    rule = Harmless("sql INSERT order_*", "the orders are a joke")
    process = ledger(file, harmless=[rule])
    assert [process.settle(LIST, INSERT) for _ in range(3)][-1] is Standing.SAFE
    process.flush()
    (known,) = file.endpoints()
    assert [(seen.count, seen.harmless) for seen in known.effects] == [(3, rule.because)]


def test_the_evidence_of_another_release_does_not_count(file: Effects) -> None:
    before = ledger(file, release="1")
    for _ in range(5):
        before.settle(LIST, INSERT)
    before.flush()
    after = ledger(file, release="2")
    assert [after.settle(LIST, {}) for _ in range(3)][-1] is Standing.SAFE
    after.flush()
    assert [one.release for one in file.endpoints()] == ["2"]
    for number in range(3, 7):
        ledger(file, release=str(number)).settle(LIST, {})
    assert file.endpoints("1") == []


def test_nothing_is_safe_while_the_file_cannot_be_written(file: Effects) -> None:
    clock = Clock()
    process = ledger(file, clock)
    for _ in range(3):
        process.settle(LIST, {})
    assert process.standing(LIST) is Standing.SAFE
    kept = file.path.read_bytes()
    file.path.write_bytes(b"no database" * 100)
    clock.now += FLUSH_SECONDS
    assert process.settle(LIST, {}) is Standing.UNKNOWN
    with pytest.raises(EffectsUnreadable, match="no request is copied"):
        file.endpoints()
    file.path.write_bytes(kept)
    clock.now += FLUSH_SECONDS
    assert process.settle(LIST, {}) is Standing.SAFE


def test_a_file_of_another_format_is_refused(file: Effects) -> None:
    file.endpoints()
    with closing(sqlite3.connect(file.path, isolation_level=None)) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(EffectsUnreadable, match="its format is 9"):
        file.endpoints()


def test_what_is_kept_of_an_endpoint_is_bounded_and_can_be_forgotten(file: Effects) -> None:
    process = ledger(file)
    for number in range(EFFECTS_PER_ENDPOINT_MAX + 5):
        process.settle(LIST, {Effect(Kind.FILE, f"write /{number}"): ""})
    assert len(file.endpoints()[0].effects) == EFFECTS_PER_ENDPOINT_MAX
    assert file.forget(LIST)
    assert not file.forget(LIST)
    assert file.endpoints() == []


def test_a_late_effect_makes_an_endpoint_write(file: Effects) -> None:
    process = ledger(file)
    for _ in range(3):
        process.settle(LIST, {})
    process.add_late(LIST, Effect(Kind.MAIL, "send"), "")
    assert process.settle(LIST, {}) is Standing.WRITES
    assert [one.seen for one in file.endpoints()] == [3]


@pytest.mark.parametrize(
    "value", [None, "", "yes", "safe; drop", 'safe; route="a', "SAFE", "safe" * 1000, "\x00"]
)
def test_what_is_no_standing_is_unknown(value: str | None) -> None:
    assert not read_told(value).may_copy


@pytest.mark.parametrize("endpoint", ["", "GET /a", r'GET /(?P<x>[\w"-]+)/$', "GET /" + "ä" * 900])
def test_what_is_told_is_read_again(endpoint: str) -> None:
    told = read_told(write_told(Told(endpoint, Standing.SAFE)))
    assert told.may_copy
    assert told.endpoint == endpoint.replace("ä", "?")[:500]


def test_a_reason_is_wanted_for_what_is_harmless() -> None:
    with pytest.raises(ValueError, match="nobody will know why"):
        Harmless("sql *", " ")
    with pytest.raises(ValueError, match="no kind of effect"):
        Harmless("django_session", "sessions")
