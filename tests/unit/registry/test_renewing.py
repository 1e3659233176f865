"""What a renewal costs the store: nothing that lasts."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.registry import Instance, InstanceId, Registry
from moreton.registry.core.standing import InstanceKind
from moreton.registry.errors import InstanceNotRegistered
from moreton.store import open_store
from moreton.store.core.model import TXN_OPS_MAX
from moreton.store.memory import open_memory_store
from unit.registry.house import House
from unit.store.raft.memory_cluster import memory_cluster

TTL = timedelta(seconds=60)
ONE = Instance(InstanceId("1"), "catalogue", "10.0.0.1", 80)
TWO = Instance(InstanceId("2"), "cart", "10.0.0.2", 80)


async def renew(registry: Registry, times: int) -> None:
    places = [(each.service, each.id) for each in (ONE, TWO)]
    for _ in range(times):
        assert await registry.renew(ONE.service, ONE.id) == TTL
        assert await registry.renew_many(places) == [TTL, TTL]


def state(folder: Path) -> list[tuple[str, int, int]]:
    files = sorted(folder.iterdir())
    return [(each.name, each.stat().st_mtime_ns, each.stat().st_size) for each in files]


async def test_renewals_touch_no_file_of_a_store_on_disk(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/store.sqlite")
    try:
        registry = Registry(store)
        for each in (ONE, TWO):
            await registry.register(each, ttl=TTL)
        before, numbers = state(tmp_path), store.statistics()
        assert numbers.commits >= 4, "two leases and two instances were written"
        await renew(registry, 100)
        assert state(tmp_path) == before
        assert store.statistics() == numbers
    finally:
        await store.close()


async def test_renewals_write_nothing_to_the_log_of_a_cluster_at_any_node() -> None:
    async with memory_cluster(1, 2, 3) as cluster:
        leader = await cluster.leader()
        for each in (ONE, TWO):
            await Registry(leader).register(each, ttl=TTL)
        before = leader.node.status().raft.last_index
        assert before >= 4
        for store in cluster.stores.values():
            await renew(Registry(store), 20)
        assert leader.node.status().raft.last_index == before


async def test_many_are_renewed_together_and_each_has_its_own_answer() -> None:
    store = open_memory_store()
    registry = Registry(store)
    count = TXN_OPS_MAX + 2
    for number in range(count):
        ttl = TTL if number % 2 else 2 * TTL
        await registry.register(replace(ONE, id=InstanceId(str(number))), ttl=ttl)
    await registry.deregister(ONE.service, "5")
    places = [(ONE.service, str(number)) for number in range(count)]
    found = await registry.renew_many([*places, ("nobody", "1")])
    assert found[:4] == [2 * TTL, TTL, 2 * TTL, TTL]
    assert found[5] is None
    assert found[-2:] == [TTL, None]
    assert found.count(None) == 2
    assert await registry.renew_many([]) == []
    await store.close()


async def test_instance_whose_lease_ended_is_renewed_neither_alone_nor_with_others() -> None:
    store = open_memory_store()
    registry = Registry(store)
    held = await registry.register(ONE, ttl=TTL)
    await registry.register(TWO, ttl=TTL)
    assert held.lease is not None
    await store.revoke(held.lease)
    assert await registry.renew_many([("catalogue", "1"), ("cart", "2")]) == [None, TTL]
    with pytest.raises(InstanceNotRegistered):
        await registry.renew("catalogue", "1")
    await store.close()


async def test_registry_that_was_away_gives_each_its_whole_time_again(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.register(replace(TWO, kind=InstanceKind.PERSISTENT))
    await house.pass_time(TTL * 0.9)
    await house.registry.give_time()
    await house.pass_time(TTL * 0.9)
    assert len(await house.endpoints()) == 2
    await house.pass_time(TTL * 0.2)
    assert await house.endpoints() == [TWO.endpoint]
