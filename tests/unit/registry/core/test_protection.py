from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moreton.registry.core.changes import (
    InstanceChange,
    InstancesListed,
    InstanceView,
    serving,
)
from moreton.registry.core.checks import Care, Check, HttpProbe
from moreton.registry.core.documents import (
    encode,
    encode_care,
    encode_health,
    encode_order,
    instance_key,
)
from moreton.registry.core.fold import Fold
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import (
    CheckResult,
    CheckStatus,
    Health,
    InstanceState,
    Order,
)
from moreton.store import KeyValue, WatchBatch, WatchEvent

pytestmark = pytest.mark.slow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
CHECK = Check("http", HttpProbe("/health"))
SICK = Health((CheckResult("http", CheckStatus.CRITICAL, NOON, "status 500"),))
WELL = Health((CheckResult("http", CheckStatus.PASSING, NOON),))


def instance(number: int, **changes: object) -> Instance:
    one = Instance(InstanceId(f"i{number}"), "shop", "10.0.0.1", 8000 + number)
    return replace(one, **changes)  # type: ignore[arg-type]


class Story:
    """What is stored of one service, changed revision by revision."""

    def __init__(self, count: int, *, checks: tuple[Check, ...] = ()) -> None:
        self.there: dict[bytes, KeyValue] = {}
        self.fold = Fold()
        self.view = InstanceView()
        self.revision = 1
        self.instances = [instance(number, checks=checks) for number in range(count)]
        self.register(*range(count))

    def register(self, *numbers: int) -> None:
        for number in numbers:
            one = self.instances[number]
            puts = {"": encode(one), "known": encode(one)}
            if one.checks:
                puts["health"] = encode_health(WELL)
            self.write({(one.id, part): value for part, value in puts.items()})

    def expire(self, *numbers: int) -> None:
        for number in numbers:
            one = self.instances[number].id
            self.write({(one, ""): None, (one, "health"): None})

    def leave(self, *numbers: int) -> None:
        for number in numbers:
            one = self.instances[number].id
            self.write({(one, part): None for part in ("", "health", "known", "order")})

    def find(self, health: Health, *numbers: int) -> None:
        for number in numbers:
            self.write({(self.instances[number].id, "health"): encode_health(health)})

    def let_go(self, *numbers: int) -> None:
        for number in numbers:
            self.write({(self.instances[number].id, "known"): None})

    def protect(self, share: float | None) -> None:
        self.write({("", "care"): None if share is None else encode_care(Care(protect=share))})

    def write(self, values: dict[tuple[str, str], bytes | None]) -> Sequence[InstanceChange]:
        self.revision += 1
        events = []
        for (instance_id, part), value in values.items():
            key = instance_key("shop", instance_id, part)
            kind = self.there.pop(key, None)
            if value is not None:
                self.there[key] = KeyValue(key, value, 1, self.revision, 1)
                events.append(WatchEvent("put", self.there[key], kind))
            elif kind is not None:
                gone = KeyValue(key, b"", 0, self.revision, 0)
                events.append(WatchEvent("delete", gone, kind))
        changes = self.fold.apply(WatchBatch(self.revision, tuple(events)))
        for change in changes:
            assert self.view.apply(change), "a change that is told is one"
        return changes

    def in_use(self) -> list[int]:
        return [each.port - 8000 for each in serving(self.view.of("shop"))]

    def kept(self) -> list[int]:
        return [each.port - 8000 for each in self.view.of("shop") if each.kept]


def test_one_of_two_is_taken_out_when_its_lease_ends() -> None:
    story = Story(2)
    story.expire(0)
    assert (story.in_use(), story.kept()) == ([1], [])


def test_the_only_one_and_both_of_two_are_taken_out() -> None:
    for count in (1, 2):
        story = Story(count)
        story.expire(*range(count))
        assert story.in_use() == []


def test_half_of_a_service_is_taken_out_and_more_than_half_is_kept() -> None:
    story = Story(8)
    story.expire(0, 1, 2, 3)
    assert (story.in_use(), story.kept()) == ([4, 5, 6, 7], [])
    story.expire(4)
    assert (story.in_use(), story.kept()) == (list(range(8)), [0, 1, 2, 3, 4])
    assert story.fold.is_protected("shop")


def test_those_that_are_kept_say_why() -> None:
    story = Story(3, checks=(CHECK,))
    story.expire(0)
    story.find(SICK, 1)
    ended, failed, _ = story.view.of("shop")
    assert ended.reason.endswith("fell at once (its lease ended)")
    assert failed.reason.endswith("fell at once (check http: status 500)")


def test_failed_checks_count_as_ended_leases_do() -> None:
    story = Story(4, checks=(CHECK,))
    story.find(SICK, 0, 1)
    assert (story.in_use(), story.kept()) == ([2, 3], [])
    story.expire(2)
    assert (story.in_use(), story.kept()) == ([0, 1, 2, 3], [0, 1, 2])


def test_those_that_are_kept_are_released_when_enough_return() -> None:
    story = Story(4)
    story.expire(0, 1, 2)
    assert story.kept() == [0, 1, 2]
    story.register(0)
    assert (story.in_use(), story.kept()) == ([0, 3], [])
    assert not story.fold.is_protected("shop")


def test_those_that_are_kept_are_released_when_enough_fell_for_good() -> None:
    story = Story(5)
    story.expire(0, 1, 2, 3)
    assert story.kept() == [0, 1, 2, 3]
    story.let_go(0)
    story.let_go(1)
    story.let_go(2)
    assert (story.in_use(), story.kept()) == ([4], [])
    story = Story(5)
    story.expire(0, 1, 2, 3, 4)
    story.let_go(0, 1, 2, 3, 4)
    assert (story.in_use(), story.fold.services()) == ([], ())


def test_who_leaves_by_itself_is_gone_and_not_counted() -> None:
    story = Story(10)
    story.leave(*range(9))
    assert (story.in_use(), story.kept()) == ([9], [])


def test_slow_trickle_of_deaths_is_none_at_once() -> None:
    story = Story(10)
    for number in range(9):
        story.expire(number)
        assert story.kept() == []
        story.let_go(number)
    assert story.in_use() == [9]


def test_who_is_ordered_out_is_not_kept_in_use() -> None:
    story = Story(3)
    order = encode_order(Order(InstanceState.MAINTENANCE, NOON))
    for one in story.instances:
        story.write({(one.id, "order"): order})
    story.expire(0, 1, 2)
    assert story.in_use() == []


def test_who_did_not_serve_is_not_kept_in_use() -> None:
    story = Story(3)
    story.instances = [replace(each, state=InstanceState.STARTING) for each in story.instances]
    story.register(0, 1, 2)
    story.expire(0, 1, 2)
    assert story.in_use() == []


def test_share_may_be_another_and_counts_at_once() -> None:
    story = Story(10)
    story.expire(0, 1, 2, 3)
    assert story.kept() == []
    story.protect(0.3)
    assert story.kept() == [0, 1, 2, 3]
    story.protect(1.0)
    story.expire(*range(4, 10))
    assert (story.in_use(), story.kept()) == ([], [])
    story.protect(None)
    assert story.kept() == list(range(10))


def test_reader_of_an_unknown_share_takes_the_usual_one() -> None:
    story = Story(4)
    story.write({("", "care"): b"?"})
    story.expire(0, 1)
    assert story.kept() == []
    story.expire(2)
    assert story.kept() == [0, 1, 2]


@pytest.mark.parametrize("count", [100, 1000])
def test_mass_failure_is_told_in_few_changes(count: int) -> None:
    story = Story(count)
    told = 0
    for number in range(count):
        told += len(story.write({(story.instances[number].id, ""): None}))
    # Each falls, and half of them come back once.
    assert told <= 2 * count
    assert len(story.in_use()) == count


WRITES = st.sampled_from(["register", "expire", "leave", "sick", "well", "let_go", "order"])


@given(
    st.integers(1, 6),
    st.lists(st.tuples(WRITES, st.integers(0, 5)), max_size=25),
    st.sampled_from([None, 0.0, 0.3, 1.0]),
)
def test_changes_add_up_to_what_a_new_reader_finds(
    count: int, writes: list[tuple[str, int]], share: float | None
) -> None:
    story = Story(count, checks=(CHECK,))
    if share is not None:
        story.protect(share)
    order = encode_order(Order(InstanceState.DRAINING, NOON))
    for what, at in writes:
        number = at % count
        match what:
            case "sick":
                story.find(SICK, number)
            case "well":
                story.find(WELL, number)
            case "order":
                story.write({(story.instances[number].id, "order"): order})
            case _:
                getattr(story, what)(number)
        fresh = Fold(story.there.values())
        assert story.fold.instances() == fresh.instances()
        listed = InstanceView()
        listed.apply(InstancesListed(story.revision, fresh.instances()))
        assert story.view.services() == listed.services()
        assert story.view.kept() == listed.kept()
        fallen = len(fresh.fallen("shop"))
        total = fallen + len(fresh.up("shop"))
        limit = 0.5 if share is None else share
        assert fresh.is_protected("shop") == (total >= 3 and fallen > limit * total)
