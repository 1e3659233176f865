"""Descriptors meet the thresholds that envoyproxy/ratelimit would find, and are counted so."""

from __future__ import annotations

import pytest

from moreton.ratelimit.rls.core.tree import Match, Node, find
from moreton.ratelimit.rls.core.wildcards import Wildcard
from moreton.ratelimit.rls.imports import load

FILE = """
domain: shop
descriptors:
  - key: tenant
    value: ada
    descriptors:
      - key: path
        rate_limit: {unit: second, requests_per_unit: 5}
      - key: path
        value: /pay
        rate_limit: {unit: second, requests_per_unit: 10, name: pay}
  - key: agent
    rate_limit: {unit: minute, requests_per_unit: 20}
    descriptors:
      - key: version
        rate_limit: {unit: week, requests_per_unit: 3}
  - key: agent
    value: crawler*
    rate_limit: {unit: hour, requests_per_unit: 30}
  - key: agent
    value: crawler-7
    rate_limit: {unit: day, requests_per_unit: 40}
  - key: route
    value: /api/*/orders/*
    rate_limit: {unit: MONTH, requests_per_unit: 50}
  - key: file
    value: img/*
    share_threshold: true
    rate_limit: {unit: minute, requests_per_unit: 60}
  - key: folder
    value: f*
    share_threshold: true
    descriptors:
      - key: file
        detailed_metric: true
        rate_limit: {unit: minute, requests_per_unit: 70}
  - key: method
    value_to_metric: true
    descriptors:
      - key: verb
        value: r*
        value_to_metric: true
        descriptors:
          - key: user
            rate_limit: {unit: year, requests_per_unit: 80}
  - key: every
    detailed_metric: true
    rate_limit: {unit: minute, requests_per_unit: 90}
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Node:
    path = tmp_path_factory.mktemp("rls") / "shop.yaml"
    path.write_text(FILE)
    return load(path).domains["shop"]


def met(root: Node, *entries: tuple[str, str]) -> Match | None:
    return find("shop", root, entries)


@pytest.mark.parametrize(
    ("entries", "count", "metric"),
    [
        ([("tenant", "ada"), ("path", "/x")], 5, "shop.tenant_ada.path"),
        ([("tenant", "ada"), ("path", "/pay")], 10, "shop.tenant_ada.path_/pay"),
        ([("agent", "curl")], 20, "shop.agent"),
        ([("agent", "curl"), ("version", "8")], 3, "shop.agent.version"),
        ([("agent", "crawler-8")], 30, "shop.agent_crawler*"),
        ([("agent", "crawler-7")], 40, "shop.agent_crawler-7"),
        ([("route", "/api/v1/orders/7")], 50, "shop.route_/api/*/orders/*"),
        ([("file", "img/a.png")], 60, "shop.file_img/*"),
        ([("folder", "fa"), ("file", "x")], 70, "shop.folder_f*.file_x"),
        (
            [("method", "GET"), ("verb", "read"), ("user", "7")],
            80,
            "shop.method_GET.verb_read.user",
        ),
        ([("every", "one")], 90, "shop.every_one"),
    ],
)
def test_the_most_specific_threshold_of_the_same_depth_is_met(
    root: Node, entries: list[tuple[str, str]], count: int, metric: str
) -> None:
    found = met(root, *entries)
    assert found is not None
    assert (found.threshold.count, found.metric) == (count, metric)


@pytest.mark.parametrize(
    "entries",
    [
        [("tenant", "ada")],  # less deep than the configuration
        [("tenant", "grace"), ("path", "/x")],
        [("agent", "crawler-7"), ("version", "8")],  # deeper
        [("route", "/api/v1/orders")],
        [("unknown", "")],
        [],
    ],
)
def test_any_other_depth_or_value_meets_none(root: Node, entries: list[tuple[str, str]]) -> None:
    assert met(root, *entries) is None


def test_values_of_a_shared_wildcard_are_counted_as_one(root: Node) -> None:
    one, other = met(root, ("file", "img/a")), met(root, ("file", "img/b"))
    assert one is not None
    assert other is not None
    assert one.counted == other.counted == (("file", "img/*"),)
    apart = met(root, ("agent", "crawler-8"))
    assert apart is not None
    assert apart.counted == (("agent", "crawler-8"),)


def test_only_the_shared_level_of_nested_descriptors_is_one(root: Node) -> None:
    found = met(root, ("folder", "fa"), ("file", "x"))
    assert found is not None
    assert found.counted == (("folder", "f*"), ("file", "x"))


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("k_foo*", "k_foo", True),
        ("k_foo*", "k_fo", False),
        ("k_a*b", "k_ab", True),
        ("k_ab*bc", "k_abc", False),  # one b is not both
        ("k_ab*bc", "k_abbc", True),
        ("k_*x*y*", "k_1x2y3", True),
        ("k_*x*y*", "k_1y2x3", False),
        ("k_*", "k_", True),
        ("k_a**b", "k_ab", True),
    ],
)
def test_a_star_stands_for_any_characters(pattern: str, text: str, matches: bool) -> None:  # noqa: FBT001 - a table
    assert Wildcard.of(pattern).matches(text) is matches
