"""Blocking queries: who is woken by what, and that an index only grows."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from moreton.registry.consul.core.indexes import Indexes
from moreton.registry.consul.core.queries import (
    WAIT_DEFAULT,
    WAIT_MAX,
    Blocking,
    parse_options,
    parse_parameters,
    parse_wait,
)
from moreton.registry.consul.core.refusals import ConsulRequestRefused
from unit.registry.consul.asking import Consul, serving


async def test_change_of_one_service_wakes_nobody_who_waits_for_another(consul: Consul) -> None:
    names = [f"shop-{number}" for number in range(50)]
    for name in names:
        await consul.register(name)
    waiting = {}
    for name in names:
        for kind in ("health/service", "catalog/service", "health/checks"):
            index = (await consul.get(f"/v1/{kind}/{name}")).index
            waiting[kind, name] = await consul.begin(f"/v1/{kind}/{name}?index={index}&wait=60s")
    woken = consul.api.statistics().woken
    for number in range(20):
        await consul.register("shop-7", Tags=[f"v{number}"], ID=f"i{number}")
    told = [await waiting[kind, "shop-7"] for kind in ("health/service", "catalog/service")]
    assert all(len(each.json) >= 1 for each in told)
    assert consul.api.statistics().woken - woken == 3, "the three that wait for it, once each"
    assert consul.api.statistics().waiting == 3 * 49


async def test_change_of_a_key_wakes_those_of_the_key_and_of_its_prefixes(consul: Consul) -> None:
    targets = ["a/b/c", "a/b/?recurse", "a/?keys", "?recurse", "a/b/d", "a/c/?recurse", "b"]
    for key in ("a/b/c", "a/b/d", "a/c/x", "b"):
        await consul.put(f"/v1/kv/{key}", b"1")
    waiting = []
    for target in targets:
        told = await consul.get(f"/v1/kv/{target}")
        joined = f"{target}{'&' if '?' in target else '?'}index={told.index}&wait=60s"
        waiting.append(await consul.begin(f"/v1/kv/{joined}"))
    await consul.put("/v1/kv/a/b/c", b"2")
    await asyncio.gather(*waiting[:4])
    assert consul.api.statistics().woken == 4
    assert not any(task.done() for task in waiting[4:])


async def test_list_of_services_is_told_of_names_and_tags_alone(consul: Consul) -> None:
    await consul.register(ID="one", Tags=["blue"])
    before = await consul.get("/v1/catalog/services")
    assert before.json == {"orders": ["blue"]}
    waiting = await consul.begin(f"/v1/catalog/services?index={before.index}&wait=60s")
    await consul.register(ID="two", Tags=["blue"])
    await consul.put("/v1/agent/service/maintenance/one?enable=true")
    assert not waiting.done()
    await consul.register("billing")
    assert (await waiting).json == {"billing": [], "orders": ["blue"]}


async def test_service_that_appears_and_goes_wakes_those_who_wait(consul: Consul) -> None:
    told = await consul.get("/v1/health/service/orders")
    assert told.json == []
    indexes = [told.index]
    waiting = await consul.begin(f"/v1/health/service/orders?index={told.index}&wait=60s")
    await consul.register(ID="one")
    told = await waiting
    assert len(told.json) == 1
    indexes.append(told.index)
    waiting = await consul.begin(f"/v1/health/service/orders?index={told.index}&wait=60s")
    await consul.put("/v1/agent/service/deregister/one")
    told = await waiting
    assert told.json == []
    indexes.append(told.index)
    assert indexes == sorted(set(indexes))
    assert (await consul.get("/v1/health/service/orders")).index == told.index


async def test_wait_ends_after_its_time_with_what_there_is(consul: Consul) -> None:
    await consul.register()
    before = await consul.get("/v1/health/service/orders")
    told = await consul.get(f"/v1/health/service/orders?index={before.index}&wait=30ms")
    assert (told.index, told.json) == (before.index, before.json)


async def test_index_never_goes_back_over_a_restart(consul: Consul) -> None:
    await consul.register("orders")
    await consul.register("gone")
    await consul.put("/v1/kv/kept", b"1")
    await consul.put("/v1/kv/gone", b"1")
    await consul.put("/v1/agent/service/deregister/gone")
    await consul.ask("DELETE", "/v1/kv/gone")
    targets = [
        "catalog/services",
        "health/service/orders",
        "health/service/gone",
        "health/service/never",
        "health/state/any",
        "kv/kept",
        "kv/gone",
        "kv/?recurse",
        "session/list",
    ]
    before = {target: (await consul.get(f"/v1/{target}")).index for target in targets}
    assert all(index >= 1 for index in before.values())
    async with serving(consul.store) as again:
        after = {target: (await again.get(f"/v1/{target}")).index for target in targets}
    assert all(after[target] >= before[target] for target in targets)


async def test_index_of_another_node_is_gone_on_from(consul: Consul) -> None:
    await consul.register("orders")
    async with serving(consul.store) as other:
        await consul.put("/v1/kv/unrelated", b"1")
        async with serving(consul.store) as third:
            index = (await third.get("/v1/health/service/orders")).index
        assert index > (await other.get("/v1/health/service/orders")).index
        told = await other.get(f"/v1/health/service/orders?index={index}&wait=20ms")
        assert told.index == index, "a smaller one would make the client start over"
        far = await other.get(f"/v1/health/service/orders?index={10**9}&wait=20ms")
        assert far.index == index, "one that nobody can have given out is not believed"


async def test_watch_that_tells_everything_at_once_tells_it_to_those_who_wait(
    consul: Consul, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage: what was missed is seen by reading everything anew."""
    await consul.register(ID="one")
    told = await consul.get("/v1/health/service/orders")
    waiting = await consul.begin(f"/v1/health/service/orders?index={told.index}&wait=60s")
    mirror = consul.api._catalog.mirror
    monkeypatch.setattr(mirror, "_take", lambda _: None)
    await consul.store.delete(b"/moreton/instances/orders/one")
    await asyncio.sleep(0)
    monkeypatch.undo()
    await mirror._load()
    assert (await waiting).json == []


async def test_client_that_hangs_up_is_not_waited_for(consul: Consul) -> None:
    await consul.register()
    index = (await consul.get("/v1/health/service/orders")).index
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": "/v1/health/service/orders",
        "query_string": f"index={index}&wait=600s".encode(),
        "headers": [(b"x-consul-token", b"made-up")],
    }
    messages = iter([{"type": "http.request"}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0)
        return next(messages)

    async def send(message: object) -> None:
        pytest.fail(f"nobody is there to be told {message}")

    async with asyncio.timeout(10):
        await consul.api.app(scope, receive, send)
    assert consul.api.statistics().waiting == 0


async def test_everyone_who_waits_is_answered_when_the_server_stops(consul: Consul) -> None:
    index = (await consul.get("/v1/health/service/orders")).index
    waiting = await consul.begin(f"/v1/health/service/orders?index={index}&wait=600s")
    consul.api.close()
    assert (await waiting).status == 200
    assert (await consul.get(f"/v1/health/service/orders?index={index}&wait=600s")).status == 200


@pytest.mark.parametrize(
    ("text", "nanos"),
    [
        ("", WAIT_DEFAULT),
        ("0", WAIT_DEFAULT),
        ("-5s", WAIT_DEFAULT),
        ("10s", 10_000_000_000),
        ("120000ms", 120_000_000_000),
        ("1h", WAIT_MAX),
    ],
)
def test_wait_is_five_minutes_if_not_said_and_ten_at_most(text: str, nanos: int) -> None:
    assert parse_wait(text) == nanos


def test_wait_is_stretched_by_up_to_a_sixteenth() -> None:
    minute = Blocking(7, 60_000_000_000)
    assert minute.limit(0.0) == minute.wait
    assert minute.wait < minute.limit(0.5) < minute.limit(0.999) < minute.wait * 17 / 16


@pytest.mark.parametrize(
    "query",
    [
        b"stale&consistent",
        b"cached&consistent",
        b"wait=soon",
        b"index=x",
        b"index=-1",
        b"index=1.5",
    ],
)
def test_options_that_cannot_be_are_refused(query: bytes) -> None:
    with pytest.raises(ConsulRequestRefused) as refused:
        parse_options(parse_parameters(query))
    assert refused.value.status == 400


def test_what_is_forgotten_has_the_newest_index_so_that_none_goes_back() -> None:
    indexes: Indexes[str] = Indexes(10, topics_max=3)
    assert indexes.of("a") == 10
    for number, name in enumerate("bcd", 11):
        indexes.advance(number)
        indexes.touch(name, number)
    assert "a" not in indexes
    assert indexes.of("a") == 13
    assert [indexes.of(name) for name in "cd"] == [12, 13]
    assert len(indexes) == 3


async def test_lease_that_ends_wakes_those_who_wait(consul: Consul) -> None:
    await consul.register_own("short", "orders")
    index = (await consul.get("/v1/health/service/orders")).index
    waiting = await consul.begin(f"/v1/health/service/orders?index={index}&wait=60s")
    assert timedelta(0) < await consul.registry.renew("orders", "short")
    assert not waiting.done(), "a renewal is no change"
    await consul.registry.deregister("orders", "short")
    assert (await waiting).json == []
