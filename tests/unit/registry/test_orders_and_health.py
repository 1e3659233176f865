from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.registry import InstanceId
from moreton.registry.core.documents import PREFIX
from moreton.registry.core.standing import InstanceKind
from moreton.registry.errors import InstanceNotRegistered
from moreton.store import Compare, TxnResult, prefix_end
from moreton.store.core.model import Op
from unit.registry.house import DRAIN, ONE, SICK, TTL, House


async def test_persistent_instance_stays_without_a_lease_until_it_is_deregistered(
    house: House,
) -> None:
    stays = replace(ONE, kind=InstanceKind.PERSISTENT)
    held = await house.registry.register(stays, ttl=TTL)
    assert held.lease is None
    await house.pass_time(timedelta(days=30))
    assert await house.endpoints() == ["10.0.0.1:80"]
    assert await house.registry.renew("catalogue", "1") == timedelta(days=1), "it need not"
    assert (await house.registry.register(stays, ttl=TTL)).revision == held.revision
    await house.registry.deregister("catalogue", "1")
    assert await house.endpoints() == []


async def test_instance_changes_its_kind_and_keeps_its_health(house: House) -> None:
    stays = replace(ONE, kind=InstanceKind.PERSISTENT)
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.write_health({("catalogue", ONE.id): SICK}, house.write)
    for instance, leases in ((stays, 0), (ONE, 1), (stays, 0)):
        await house.registry.register(instance, ttl=TTL)
        assert house.store.statistics().leases == leases
        found = (await house.registry.instances()).instances
        assert [(each.kind, each.state) for each in found] == [(instance.kind, "critical")]
    await house.registry.register(ONE, ttl=TTL)
    await house.pass_time(TTL)
    assert house.store.statistics().keys == 0


async def test_order_survives_another_registration_and_the_end_of_the_lease(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.set_order("catalogue", "1", DRAIN)
    await house.registry.register(replace(ONE, weight=2), ttl=TTL)
    assert await house.states() == ["draining"]
    await house.pass_time(TTL)
    assert await house.states() == []
    await house.registry.register(ONE, ttl=TTL)
    assert await house.states() == ["draining"]
    assert await house.registry.clear_order("catalogue", "1")
    assert await house.states() == ["serving"]
    assert not await house.registry.clear_order("catalogue", "1")


async def test_order_is_gone_with_an_explicit_deregistration(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.set_order("catalogue", "1", DRAIN)
    await house.registry.write_health({("catalogue", ONE.id): SICK}, house.write)
    await house.registry.deregister("catalogue", "1")
    assert (await house.store.range(PREFIX, prefix_end(PREFIX))).kvs == ()
    await house.registry.register(ONE, ttl=TTL)
    assert await house.states() == ["serving"]


async def test_deregistering_leaves_the_orders_to_others_alone(house: House) -> None:
    for name in ("1", "1-a", "1.b", "1:c", "10"):
        one = replace(ONE, id=InstanceId(name), port=8000 + len(name) * 7 + ord(name[-1]))
        await house.registry.register(one, ttl=TTL)
        await house.registry.set_order("catalogue", name, DRAIN)
    await house.registry.deregister("catalogue", "1")
    assert await house.states() == ["draining"] * 4


async def test_order_to_nobody_is_refused(house: House) -> None:
    with pytest.raises(InstanceNotRegistered):
        await house.registry.set_order("catalogue", "1", DRAIN)
    assert house.store.statistics().keys == 0


async def test_health_hangs_on_the_lease_of_its_instance(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.write_health({("catalogue", ONE.id): SICK}, house.write)
    await house.registry.register(ONE, ttl=TTL * 2)
    assert await house.states() == ["critical"]
    await house.pass_time(TTL * 2)
    assert house.store.statistics().keys == 0


async def test_health_of_what_is_not_registered_is_not_kept(house: House) -> None:
    await house.registry.write_health({("catalogue", ONE.id): SICK}, house.write)
    assert house.store.statistics().keys == 0


async def test_health_that_was_found_of_another_registration_is_written_to_that_of_now(
    house: House,
) -> None:
    await house.registry.register(ONE, ttl=TTL)
    attempts = 0

    async def write(then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await house.registry.register(ONE, ttl=TTL * 3)
        return await house.store.txn(compare, then)

    await house.registry.write_health({("catalogue", ONE.id): SICK}, write)
    assert attempts == 2
    await house.pass_time(TTL * 2)
    assert await house.states() == ["critical"]


async def test_node_remembers_when_it_heard_from_an_instance(house: House) -> None:
    assert house.registry.last_heartbeat("catalogue", "1") is None
    await house.registry.register(ONE, ttl=TTL)
    assert house.registry.last_heartbeat("catalogue", "1") == house.clock.wall()
    await house.registry.deregister("catalogue", "1")
    assert house.registry.last_heartbeat("catalogue", "1") is None
