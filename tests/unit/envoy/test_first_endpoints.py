"""Shares that send requests to a service wait until a proxy has its first endpoints."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from moreton.envoy.core.delivery import (
    Acknowledged,
    Delivery,
    Effect,
    Published,
    Refused,
    Send,
    Subscribe,
)
from moreton.envoy.core.resources import Resource, ResourceKey, Snapshot, TypeUrl

LAYER, PLACES = ResourceKey(TypeUrl.RUNTIME, "weights"), ResourceKey(TypeUrl.ENDPOINTS, "new")
NONE = Resource(PLACES, "none", b"", is_empty=True)
SOME, MORE = Resource(PLACES, "some", b"1"), Resource(PLACES, "more", b"2")
OLD = Resource(LAYER, "all to the old", b"0")
NEW = Resource(LAYER, "half to the new", b"1", after=frozenset({PLACES}))


def snapshot(*resources: Resource) -> Published:
    return Published(Snapshot({each.key: each for each in resources}))


def sent(effects: Sequence[Effect]) -> list[Send]:
    return [each for each in effects if isinstance(each, Send)]


def names(effects: Sequence[Effect]) -> list[str]:
    return [each.version for one in sent(effects) for each in one.resources]


@pytest.fixture
def delivery() -> Delivery:
    """A proxy that has no endpoints, and shares that send nothing there."""
    made = Delivery()
    made.handle(snapshot(OLD, NONE))
    for key in (LAYER, PLACES):
        (only,) = sent(made.handle(Subscribe(key.type_url, frozenset({key.name}), first=True)))
        made.handle(Acknowledged(key.type_url, only.nonce))
    return made


def test_shares_are_sent_once_the_first_endpoints_are_acknowledged(delivery: Delivery) -> None:
    (endpoints,) = sent(delivery.handle(snapshot(NEW, SOME)))
    assert endpoints.resources == (SOME,)
    # Other endpoints meanwhile are no reason to wait longer.
    assert names(delivery.handle(snapshot(NEW, MORE))) == []
    after = delivery.handle(Acknowledged(TypeUrl.ENDPOINTS, endpoints.nonce))
    assert sorted(names(after)) == ["half to the new", "more"]


def test_shares_are_sent_at_once_where_there_are_endpoints(delivery: Delivery) -> None:
    (endpoints,) = sent(delivery.handle(snapshot(OLD, SOME)))
    delivery.handle(Acknowledged(TypeUrl.ENDPOINTS, endpoints.nonce))
    assert names(delivery.handle(snapshot(NEW, MORE))) == ["half to the new", "more"]


def test_shares_that_send_nothing_there_are_sent_before_the_last_endpoints_go(
    delivery: Delivery,
) -> None:
    (endpoints,) = sent(delivery.handle(snapshot(NEW, SOME)))
    (layer,) = sent(delivery.handle(Acknowledged(TypeUrl.ENDPOINTS, endpoints.nonce)))
    delivery.handle(Acknowledged(TypeUrl.RUNTIME, layer.nonce))
    assert names(delivery.handle(snapshot(OLD, NONE))) == ["all to the old", "none"]


def test_endpoints_that_are_refused_hold_nothing_up(delivery: Delivery) -> None:
    (endpoints,) = sent(delivery.handle(snapshot(NEW, SOME)))
    after = delivery.handle(Refused(TypeUrl.ENDPOINTS, endpoints.nonce, "bad"))
    assert names(after) == ["half to the new"]


@pytest.mark.parametrize("asked", [frozenset[str](), frozenset({"another"})])
def test_proxy_that_does_not_ask_for_the_endpoints_waits_for_none(asked: frozenset[str]) -> None:
    made = Delivery()
    made.handle(snapshot(NEW, SOME))
    effects: list[Effect] = []
    if asked:
        effects += made.handle(Subscribe(TypeUrl.ENDPOINTS, asked, first=True))
    effects += made.handle(Subscribe(TypeUrl.RUNTIME, frozenset({"weights"}), first=True))
    assert "half to the new" in names(effects)
