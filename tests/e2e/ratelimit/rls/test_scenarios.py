"""What envoyproxy/ratelimit's integration scenarios show, shown through a real Envoy of ours.

Each rebuilds the idea of one of its scripts, in descriptors of our own: the happy path, a limit, a
limit in shadow mode, replaced limits, a metric for each value, quotas, quotas of what answers cost,
and a choice of service by its quota. Beside these: nesting, wildcards, bans, and what is unlimited.
Windows are a minute of a clock that stands still until a test moves it.

Source: envoyproxy/ratelimit, integration-test/scripts, README.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from e2e.ratelimit.rls.world import Gateway, Limits, gateway, problem, services
from moreton.ratelimit import Gcra
from moreton.ratelimit.rls.core.tree import Node, Threshold

pytestmark = pytest.mark.e2e

FILE = """
domain: shop
descriptors:
  - key: kind
    value: export
    rate_limit: {unit: minute, requests_per_unit: 4, replaces: [{name: drill}, {name: garden}]}
  - key: team
    value: red
    descriptors:
      - key: project
        value: lift
        rate_limit: {unit: minute, requests_per_unit: 2, replaces: [{name: forbidden}]}
      - key: project
        value: build
        rate_limit: {unit: minute, requests_per_unit: 2, replaces: [{name: drill}]}
      - key: project
        value: plain
        rate_limit: {unit: minute, requests_per_unit: 1}
      - key: project
        value: garden
        rate_limit: {unit: minute, requests_per_unit: 2, name: garden}
  - key: plan
    rate_limit: {unit: minute, requests_per_unit: 2}
    descriptors:
      - {key: tool, rate_limit: {unit: minute, requests_per_unit: 3}}
      - key: tool
        value: drill
        rate_limit: {unit: minute, requests_per_unit: 1, name: drill}
      - key: tool
        value: forbidden
        rate_limit: {unit: minute, requests_per_unit: 0, name: forbidden}
      - {key: place, rate_limit: {unit: second, requests_per_unit: 1}}
      - {key: place, value: hall, rate_limit: {unit: minute, requests_per_unit: 3}}
      - key: place
        value: shade
        shadow_mode: true
        rate_limit: {unit: minute, requests_per_unit: 3}
      - {key: place, value: open, rate_limit: {unlimited: true}}
  - {key: each, detailed_metric: true, rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: file, value: 'doc/*', rate_limit: {unit: minute, requests_per_unit: 2}}
  - {key: file, value: 'doc/*/draft', rate_limit: {unit: minute, requests_per_unit: 9}}
  - key: image
    value: img/*.png
    share_threshold: true
    rate_limit: {unit: minute, requests_per_unit: 2}
  - key: bucket
    value: small
    quota_mode: true
    metadata: {bucket: {name: small}}
    rate_limit: {unit: minute, requests_per_unit: 1}
  - key: bucket
    value: large
    quota_mode: true
    metadata: {bucket: {name: large}}
    rate_limit: {unit: minute, requests_per_unit: 2}
"""


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limits]:
    path = tmp_path_factory.mktemp("rls") / "shop.yaml"
    path.write_text(FILE)
    with Limits(path).running() as running:
        yield running


@pytest.fixture(scope="module")
def backends() -> Iterator[tuple[int, int]]:
    with services() as ports:
        yield ports


@pytest.fixture(scope="module")
def shared(limits: Limits, backends: tuple[int, int]) -> Iterator[Gateway]:
    with gateway(backends, limits.port) as made:
        yield made


@pytest.fixture
def door(shared: Gateway, limits: Limits) -> Gateway:
    """The gateway, in a minute of its own."""
    limits.clock.advance(60)
    return shared


def test_a_request_within_its_limits_passes(door: Gateway) -> None:
    answer = door.ask("/two", plan="free", place="shade")
    assert (answer.status, answer.body) == (200, "this is small")


def test_a_nested_limit_refuses_what_is_beyond_it_and_says_when_to_come_back(
    door: Gateway, limits: Limits
) -> None:
    limits.clock.nanos -= limits.clock.nanos % 60_000_000_000  # the beginning of a minute
    assert door.passes("/two", 4, plan="free", place="hall") == [True] * 3 + [False]
    limits.clock.advance(20)
    refused = door.ask("/two", plan="free", place="hall")
    assert refused.status == 429
    assert refused.headers["retry-after"] == "40"
    assert refused.headers["ratelimit"] == '"plan.place_hall";r=0;t=40'
    assert refused.headers["ratelimit-policy"] == '"plan.place_hall";q=3;w=60'
    assert refused.headers["x-ratelimit-limit"] == "3, 3;w=60"
    assert refused.headers["x-ratelimit-reset"] == "40"
    assert refused.headers["content-type"] == "application/problem+json"
    assert problem(refused)["violated-policies"] == ["plan.place_hall"]
    limits.clock.advance(40)
    passed = door.ask("/two", plan="free", place="hall")
    assert passed.headers["ratelimit"] == '"plan.place_hall";r=2;t=60'


def test_each_value_of_a_key_without_one_has_a_count_of_its_own(door: Gateway) -> None:
    assert door.passes("/one", 3, plan="a") == [True, True, False]
    assert door.passes("/one", 3, plan="b") == [True, True, False]


def test_a_limit_in_shadow_mode_lets_all_pass_and_tells_that_nothing_is_left(
    door: Gateway, limits: Limits
) -> None:
    assert door.passes("/two", 5, plan="free", place="shade") == [True] * 5
    answer = door.ask("/two", plan="free", place="shade")
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert limits.count("shop.plan.place_shade", "shadow_mode") >= 3


def test_a_limit_that_replaces_a_ban_lets_pass_what_it_says(door: Gateway) -> None:
    ask = {"plan": "free", "tool": "forbidden", "team": "red"}
    assert door.passes("/two", 1, plan="free", tool="forbidden") == [False]
    assert door.passes("/four", 1, **ask, project="plain") == [False]
    assert door.passes("/four", 3, **ask, project="lift") == [True, True, False]


def test_a_replaced_limit_is_not_used_up(door: Gateway) -> None:
    ask = {"plan": "mine", "tool": "drill", "team": "red"}
    assert door.passes("/four", 3, **ask, project="build") == [True, True, False]
    assert door.passes("/four", 2, **ask, project="other") == [True, False]
    assert door.passes("/four", 1, **ask, project="build") == [False]


def test_one_limit_may_replace_several(door: Gateway) -> None:
    ask = {"plan": "mine", "tool": "drill", "team": "red", "project": "garden"}
    assert door.passes("/five", 5, **ask, kind="export") == [True] * 4 + [False]
    assert door.passes("/two", 2, plan="other", tool="drill") == [True, False]
    other = {"plan": "third", "tool": "saw", "team": "red", "project": "garden"}
    assert door.passes("/four", 3, **other) == [True, True, False]


def test_a_request_that_one_limit_refuses_is_counted_by_no_other(door: Gateway) -> None:
    both = {"plan": "one", "tool": "saw", "place": "hall"}
    assert door.passes("/two", 2, plan="one", place="hall") == [True, True]
    assert door.passes("/two", 4, **both) == [True, False, False, False]
    # Of the tool one was counted, and two are left.
    assert door.passes("/two", 3, plan="one", tool="saw") == [True, True, False]


def test_values_are_told_in_the_metric_where_that_is_wanted(door: Gateway, limits: Limits) -> None:
    assert door.passes("/each", 3, each="ada") == [True, True, False]
    assert limits.count("shop.each_ada", "over_limit") == 1
    assert limits.count("shop.each_ada", "total_hits") == 3


def test_what_is_unlimited_passes_and_tells_how_much_is_left(door: Gateway) -> None:
    answer = door.ask("/two", plan="free", place="open")
    assert answer.passed
    assert "retry-after" not in answer.headers


def test_a_wildcard_counts_each_value_or_all_as_one(door: Gateway) -> None:
    assert door.passes("/wild", 3, file="doc/a") == [True, True, False]
    assert door.passes("/wild", 3, file="doc/b") == [True, True, False]
    assert door.passes("/wild", 5, file="other") == [True] * 5
    # The first wildcard of the file that matches is meant.
    assert door.passes("/wild", 3, file="doc/c/draft") == [True, True, False]
    assert door.passes("/wild", 1, image="img/a.png") == [True]
    assert door.passes("/wild", 2, image="img/b.png") == [True, False]
    assert door.passes("/wild", 3, image="img/b.jpg") == [True] * 3


def test_quotas_refuse_when_all_of_them_are_used_up(door: Gateway, limits: Limits) -> None:
    assert door.passes("/quota", 3) == [True, True, False]
    limits.clock.advance(60)
    assert door.passes("/quota") == [True]


def wait_until_reported(limits: Limits, hits: int) -> None:
    """What an answer costs is told after it."""
    deadline = time.monotonic() + 20
    while sum(row.total_hits for row in limits.service.counts.rows.values()) < hits:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def hits(limits: Limits) -> int:
    return sum(row.total_hits for row in limits.service.counts.rows.values())


def test_a_quota_of_what_answers_cost_refuses_after_more_than_it_was_used(
    door: Gateway, limits: Limits
) -> None:
    before = hits(limits)
    for number in range(1, 4):
        assert door.passes("/tokens") == [True]
        wait_until_reported(limits, before + number)
    assert door.passes("/tokens") == [False]
    # A proxy reports what was refused, too, where it does not ask for more than it knows then.
    wait_until_reported(limits, before + 4)
    limits.clock.advance(60)
    assert door.passes("/tokens") == [True]
    wait_until_reported(limits, before + 5)


def test_a_request_goes_to_the_service_that_has_quota_left(door: Gateway, limits: Limits) -> None:
    before = hits(limits)
    said = []
    for number in range(1, 6):
        said.append(door.ask("/places").body)
        wait_until_reported(limits, before + number)
    assert said == ["this is small"] * 2 + ["this is large"] * 3
    assert door.passes("/places") == [False]
    limits.clock.advance(60)
    assert door.ask("/places").body == "this is small"
    wait_until_reported(limits, before + 6)


def test_without_the_service_requests_pass_or_not_as_the_filter_says(
    door: Gateway, limits: Limits, backends: tuple[int, int]
) -> None:
    limits.run(limits.stop())
    try:
        assert door.passes("/one", 5, plan="gone") == [True] * 5
        with gateway(backends, limits.port, deny=True) as strict:
            assert strict.ask("/one", plan="gone").status == 500
    finally:
        limits.run(limits.start())
    # Its clock stands still, and so does nobody else's: a proxy connects again when it may.
    while door.passes("/one", 3, plan="back") != [True, True, False]:
        limits.clock.advance(60)


def test_a_request_that_comes_too_early_waits_in_the_proxy(door: Gateway, limits: Limits) -> None:
    slow = Threshold(Gcra("10/s", burst=1), 10, drains=False, patience_nanos=150_000_000)
    before = limits.service.domains
    limits.service.domains = {"shop": Node({"each": Node(threshold=slow)})}
    try:
        began = time.monotonic()
        first = door.ask("/each", each="x", x_envoy_fault_delay_request="5000")
        second = door.ask("/each", each="x")
        third = door.ask("/each", each="x")
        took = time.monotonic() - began
    finally:
        limits.service.domains = before
    assert [first.status, second.status, third.status] == [200, 200, 429]
    # One waited 0.1 s; what a client itself asked for is not waited.
    assert 0.1 <= took < 4
