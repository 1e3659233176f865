from __future__ import annotations

from datetime import timedelta

from moreton.kernel.time import Instant
from moreton.registry import Instance, InstanceId
from moreton.registry.discovery.core.known import DOUBT, Known

NOW = Instant(0)
TICK = timedelta(microseconds=1)


def instance(number: int, port: int = 8000) -> Instance:
    return Instance(InstanceId(f"i-{number}"), "orders", "10.0.0.1", port + number)


def of(*numbers: int) -> list[Instance]:
    return [instance(number) for number in numbers]


def known_with(*numbers: int) -> Known:
    known = Known()
    known.listed(of(*numbers), NOW, after_gap=True)
    return known


def ids(known: Known) -> set[str]:
    return {each.removeprefix("i-") for each in known.instances}


def test_list_replaces_what_was_known() -> None:
    known = known_with(1, 2, 3, 4)
    known.listed(of(3, 4, 5), NOW, after_gap=True)
    assert ids(known) == {"3", "4", "5"}
    assert known.doubt_ends is None


def test_list_that_lacks_most_of_what_was_known_leaves_it_in_doubt_for_a_while() -> None:
    known = known_with(1, 2, 3)
    known.listed(of(3, 4), NOW, after_gap=True)
    assert ids(known) == {"1", "2", "3", "4"}
    assert known.doubted == {"i-1", "i-2"}
    assert not known.wake(NOW + (DOUBT - TICK))
    assert known.wake(NOW + DOUBT)
    assert ids(known) == {"3", "4"}


def test_doubt_ends_for_who_registers_again_and_for_who_is_removed() -> None:
    known = known_with(1, 2, 3)
    known.listed([], NOW, after_gap=True)
    known.put(instance(1, port=9000))
    known.remove(instance(2).id)
    assert known.doubted == {"i-3"}
    assert known.wake(NOW + DOUBT)
    assert ids(known) == {"1"}
    assert known.instances[instance(1).id].port == 9001


def test_doubt_is_not_prolonged_by_another_list() -> None:
    known = known_with(1, 2, 3)
    known.listed([], NOW, after_gap=True)
    known.listed([], NOW + DOUBT / 2, after_gap=True)
    assert known.doubt_ends == NOW + DOUBT
    known.wake(NOW + DOUBT)
    assert ids(known) == set()


def test_what_was_removed_does_not_come_back_with_the_doubt() -> None:
    known = known_with(1, 2, 3)
    known.remove(instance(1).id)
    known.listed([], NOW, after_gap=True)
    assert ids(known) == {"2", "3"}


def test_first_list_raises_no_doubt() -> None:
    known = known_with()
    known.listed([], NOW, after_gap=True)
    assert known.doubt_ends is None


def test_list_without_a_gap_is_the_truth_whatever_it_lacks() -> None:
    known = known_with(1, 2, 3)
    known.listed([], NOW, after_gap=False)
    assert ids(known) == set()
