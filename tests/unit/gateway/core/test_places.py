"""Places of limits, held against what they are to be."""

from __future__ import annotations

from moreton.gateway.core.places import PLACES, places


def test_rules_that_no_route_is_under_together_are_apart_while_there_are_places() -> None:
    rules = [f"rule{number}" for number in range(PLACES)]
    found = places(rules, [[rule] for rule in rules])
    assert sorted(found.values()) == list(range(PLACES))


def test_more_rules_than_places_are_spread() -> None:
    rules = [f"rule{number}" for number in range(3 * PLACES)]
    found = list(places(rules, [[rule] for rule in rules]).values())
    assert {found.count(place) for place in range(PLACES)} == {3}


def test_rules_of_a_route_are_in_one_place_and_so_is_what_is_connected_by_others() -> None:
    under = [["a", "b"], ["d", "e"], ["c", "b"], ["e", "d"], ["f"]]
    found = places("abcdef", under)
    assert found["a"] == found["b"] == found["c"]
    assert found["d"] == found["e"]
    assert len({found["a"], found["d"], found["f"]}) == 3


def test_order_plays_no_part() -> None:
    under = [["a", "b"], ["c", "d"], ["b", "c"], ["x"]]
    assert places("abcdx", under) == places("xdcba", under[::-1])


def test_a_rule_more_leaves_almost_all_where_they_are() -> None:
    rules = ["orders", "search", "login", "carts"]
    before = places(rules, [])
    after = places([*rules, "more"], [])
    assert sum(before[rule] != after[rule] for rule in rules) <= 1


def test_what_a_route_says_of_rules_of_another_gateway_plays_no_part() -> None:
    assert places(["a"], [["a", "elsewhere"]]).keys() == {"a"}
