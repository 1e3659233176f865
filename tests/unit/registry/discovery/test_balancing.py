from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.registry import Instance, InstanceId, InstanceState
from moreton.registry.discovery.core.balancing import Balancer, Balancing
from moreton.registry.discovery.core.members import Member, Outcome

SECOND = timedelta(seconds=1)
ROUNDS = 4000


def instance(name: str, **more: Any) -> Instance:
    port = 8000 + sum(map(ord, name))
    return Instance(InstanceId(name), "orders", "10.0.0.1", port, **more)


class Client:
    """A balancer in virtual time."""

    def __init__(self, *instances: Instance, **settings: Any) -> None:
        self.now = Instant(0)
        self.balancer = Balancer(Balancing(**settings), seeded_rng(1), key="me")
        self.update(*instances)

    def update(self, *instances: Instance) -> None:
        self.balancer.update(instances, self.now)

    def choose(self, *avoid: str) -> Member:
        found = self.balancer.choose(self.now, [InstanceId(each) for each in avoid])
        assert found is not None
        return found

    def call(self, outcomes: dict[str, Outcome], *avoid: str) -> str:
        """One request that ends at once, as *outcomes* say for its instance."""
        member = self.choose(*avoid)
        name = member.instance.id
        self.balancer.ended(member, outcomes.get(name, Outcome.ANSWERED), self.now)
        return name

    def calls(self, count: int = ROUNDS, **outcomes: Outcome) -> Counter[str]:
        return Counter(self.call(outcomes) for _ in range(count))

    def pass_time(self, length: timedelta) -> None:
        self.now += length


def test_nothing_is_chosen_of_nothing() -> None:
    assert Client().balancer.choose(Instant(0)) is None


def test_only_those_that_serve_are_chosen() -> None:
    client = Client(
        instance("a"),
        instance("b", state=InstanceState.DRAINING),
        instance("c", state=InstanceState.CRITICAL),
        instance("d", weight=0),
    )
    assert client.calls(100) == {"a": 100}


def test_requests_under_way_go_where_least_are() -> None:
    client = Client(*(instance(name) for name in "abcde"))
    held = Counter(client.choose().instance.id for _ in range(500))
    assert set(held) == set("abcde")
    assert max(held.values()) - min(held.values()) <= 8


def test_requests_under_way_are_in_proportion_to_weights() -> None:
    client = Client(instance("a", weight=1), instance("b", weight=4))
    held = Counter(str(client.choose().instance.id) for _ in range(500))
    assert held["b"] == pytest.approx(400, abs=5)


def test_slow_instance_gets_less() -> None:
    client = Client(instance("fast"), instance("slow"), instance("swift"))
    held: list[Member] = []
    got: Counter[str] = Counter()
    for _ in range(300):
        member = client.choose()
        got[member.instance.id] += 1
        if member.instance.id == "slow":
            held.append(member)
        else:
            client.balancer.ended(member, Outcome.ANSWERED, client.now)
    assert held
    assert got["slow"] < 30


def test_closed_port_is_avoided_at_once_and_tried_again_after_a_while() -> None:
    client = Client(instance("a"), instance("b"), ejection=SECOND)
    while client.call({"a": Outcome.REFUSED}) != "a":
        pass
    assert client.calls(200) == {"b": 200}
    client.pass_time(SECOND)
    assert client.calls(200)["a"] > 50


def test_closed_port_is_avoided_for_longer_each_time_up_to_the_cap() -> None:
    client = Client(instance("a"), instance("b"), ejection=SECOND, ejection_max=5 * SECOND)
    while client.call({"a": Outcome.REFUSED}) != "a":
        pass
    lengths = []
    for _ in range(5):
        begun = client.now
        # Asked for anything but b, it gives b while a is left alone.
        while client.call({"a": Outcome.REFUSED}, "b") != "a":
            client.pass_time(SECOND / 2)
        lengths.append((client.now - begun) / SECOND)
    assert lengths == [1, 2, 4, 5, 5]


def test_one_failure_is_forgiven_and_several_in_a_row_are_not() -> None:
    client = Client(instance("a"), instance("b"), instance("c"), failures=3)
    seen: list[str] = []
    while seen.count("a") < 3:
        seen.append(client.call({"a": Outcome.FAILED}))
    assert "a" not in client.calls(300)
    client.pass_time(SECOND)
    client.calls(300)
    while client.call({"a": Outcome.FAILED}) != "a":
        pass
    assert client.calls(300)["a"] > 0, "an answer in between forgives"


def test_instance_on_trial_gets_one_request_at_a_time() -> None:
    client = Client(instance("a"), instance("b"), ejection=SECOND)
    while client.call({"a": Outcome.REFUSED}) != "a":
        pass
    client.pass_time(SECOND)
    held = [client.choose() for _ in range(50)]
    on_trial = [each for each in held if each.instance.id == "a"]
    assert len(on_trial) == 1
    client.balancer.ended(on_trial[0], Outcome.ANSWERED, client.now)
    held = [client.choose() for _ in range(50)]
    assert sum(each.instance.id == "a" for each in held) > 10


def test_failure_on_trial_ejects_again_at_once() -> None:
    client = Client(instance("a"), instance("b"), instance("c"), failures=3)
    seen: list[str] = []
    while seen.count("a") < 3:
        seen.append(client.call({"a": Outcome.FAILED}))
    client.pass_time(SECOND)
    while client.call({"a": Outcome.FAILED}) != "a":
        pass
    assert "a" not in client.calls(300)


def test_panic_uses_those_that_failed_again() -> None:
    client = Client(*(instance(name) for name in "abcd"), failures=1)
    failing = dict.fromkeys("abc", Outcome.FAILED)
    for _ in range(60):
        client.call(failing)
    statistics = client.balancer.statistics(client.now)
    assert statistics.panic
    assert {client.choose().instance.id for _ in range(40)} == set("abcd")


def test_panic_does_not_use_ports_that_are_closed() -> None:
    client = Client(*(instance(name) for name in "abcd"))
    for _ in range(60):
        client.call(dict.fromkeys("abc", Outcome.REFUSED))
    assert client.balancer.statistics(client.now).panic
    assert client.calls(100) == {"d": 100}


def test_something_is_chosen_when_every_port_is_closed() -> None:
    client = Client(instance("a"), instance("b"))
    outcomes = dict.fromkeys("ab", Outcome.REFUSED)
    assert {client.call(outcomes) for _ in range(50)} == {"a", "b"}


def test_another_attempt_goes_elsewhere_while_there_is_an_elsewhere() -> None:
    client = Client(instance("a"), instance("b"), instance("c"))
    for _ in range(200):
        assert client.call({}, "a", "b") == "c"
    assert client.call({}, "a", "b", "c") in "abc"


def test_another_attempt_prefers_one_that_answers_to_a_closed_port() -> None:
    client = Client(instance("a"), instance("b"))
    while client.call({"b": Outcome.REFUSED}) != "b":
        pass
    assert client.call({}, "a") == "a"


def test_what_was_seen_of_an_instance_survives_changes_of_others() -> None:
    client = Client(instance("a"), instance("b"))
    while client.call({"a": Outcome.REFUSED}) != "a":
        pass
    client.update(instance("a", weight=3), instance("b"), instance("c"))
    assert "a" not in client.calls(300)


def test_instance_that_moved_is_a_new_one() -> None:
    client = Client(instance("a"), instance("b"))
    while client.call({"a": Outcome.REFUSED}) != "a":
        pass
    moved = Instance(InstanceId("a"), "orders", "10.0.0.2", 9000)
    client.update(moved, instance("b"))
    assert client.calls(300)["a"] > 50


def test_request_that_ends_after_its_instance_left_harms_nobody() -> None:
    client = Client(instance("a"))
    member = client.choose()
    client.update(instance("b"))
    client.update(instance("a"), instance("b"))
    client.balancer.ended(member, Outcome.ANSWERED, client.now)
    assert client.balancer.statistics(client.now).outstanding == 0


@pytest.mark.slow
def test_new_instance_grows_to_its_share_in_a_slow_start() -> None:
    client = Client(instance("a"), instance("b"), slow_start=10 * SECOND)
    client.pass_time(SECOND)
    client.update(instance("a"), instance("b"), instance("new"))
    shares = []
    for _ in range(11):
        shares.append(client.calls()["new"] / ROUNDS)
        client.pass_time(SECOND)
    assert 0 < shares[0] < 0.08
    assert shares == pytest.approx(sorted(shares), abs=0.03)
    assert shares[10] == pytest.approx(1 / 3, abs=0.03)


def test_client_that_starts_has_no_slow_start() -> None:
    client = Client(instance("a"), instance("b", weight=3), slow_start=10 * SECOND)
    assert client.calls()["b"] / ROUNDS == pytest.approx(0.75, abs=0.03)


def test_requests_stay_in_the_zone_that_can_take_them() -> None:
    east = [instance(f"e{n}", zone="east") for n in range(3)]
    west = [instance(f"w{n}", zone="west") for n in range(3)]
    client = Client(*east, *west, zone="east")
    assert set(client.calls()) == {"e0", "e1", "e2"}


def test_small_zone_gets_no_more_than_its_share() -> None:
    east = [instance("e0", zone="east")]
    west = [instance(f"w{n}", zone="west") for n in range(3)]
    client = Client(*east, *west, zone="east")
    # Half of all callers are in the east, where a quarter of the capacity is.
    assert client.calls()["e0"] / ROUNDS == pytest.approx(0.5, abs=0.03)
    client.balancer.callers({"east": 9.0, "west": 1.0})
    assert client.calls()["e0"] / ROUNDS == pytest.approx(0.25 / 0.9, abs=0.03)
    client.balancer.callers({"east": 1.0, "west": 9.0})
    assert client.calls()["e0"] == ROUNDS


def test_zone_whose_instances_fall_spills_over_and_comes_back() -> None:
    east = [instance(f"e{n}", zone="east") for n in range(3)]
    west = [instance(f"w{n}", zone="west") for n in range(3)]
    client = Client(*east, *west, zone="east", ejection=SECOND)
    fallen = {"e0": Outcome.REFUSED, "e1": Outcome.REFUSED}
    client.calls(200, **fallen)
    found = client.calls()
    assert found["e0"] == found["e1"] == 0
    # A quarter of what is left is in the east, and half of the callers.
    assert found["e2"] / ROUNDS == pytest.approx(0.5, abs=0.03)
    client.calls(200, e2=Outcome.REFUSED)
    assert set(client.calls(200)) == {"w0", "w1", "w2"}
    client.pass_time(timedelta(minutes=1))
    client.calls(200)
    assert set(client.calls(200)) == {"e0", "e1", "e2"}


def test_client_outside_of_all_zones_uses_them_all() -> None:
    zones = [instance(f"{zone}0", zone=zone) for zone in ("east", "west")]
    client = Client(*zones, zone="north")
    assert client.calls()["east0"] / ROUNDS == pytest.approx(0.5, abs=0.03)


def test_subset_holds_its_size_over_zones() -> None:
    many = [instance(f"e{n}", zone="east") for n in range(30)]
    many += [instance(f"w{n}", zone="west") for n in range(10)]
    client = Client(*many, subset=8)
    assert len(client.calls()) == 8
    zoned = Client(*many, subset=8, zone="east")
    assert zoned.balancer.statistics(zoned.now).in_subset == 8


def test_client_whose_subset_is_down_goes_beyond_it() -> None:
    client = Client(*(instance(f"i{n}") for n in range(8)), subset=2)
    few = set(client.calls(100))
    assert len(few) == 2
    down = dict.fromkeys(few, Outcome.REFUSED)
    for _ in range(20):
        client.call(down)
    assert not few & set(client.calls(100))
    client.pass_time(timedelta(minutes=1))
    client.calls(100)
    assert set(client.calls(100)) == few


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"subset": 0}, ValueError, "1 to 10000"),
        ({"subset": 2.5}, TypeError, "whole number"),
        ({"slow_start": 5}, TypeError, r"timedelta\(seconds=5\)"),
        ({"failures": 0}, ValueError, "1 or more"),
        ({"ejection": timedelta(0)}, ValueError, "above 0"),
        ({"ejection_max": timedelta(0)}, ValueError, "above 0"),
        ({"panic_below": 1.5}, ValueError, "0 to 1|0 or more, up to 1"),
        ({"zone": None}, TypeError, "zone is None"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(
    settings: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        Balancing(**settings)
