from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.registry import InstanceId
from moreton.registry.core.checks import Care
from moreton.registry.core.standing import CheckStatus, InstanceKind
from moreton.registry.errors import CheckUnknown, InstanceNotRegistered
from moreton.registry.health import ttl_check
from moreton.registry.health.checker import stale_orders
from moreton.store import Compare, TxnResult
from moreton.store.core.model import Op
from unit.registry.house import CHECKED, DRAIN, ONE, SICK, TTL, WELL, House

REPORTING = replace(ONE, checks=(ttl_check(TTL),))


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
    stays = replace(CHECKED, kind=InstanceKind.PERSISTENT)
    await house.registry.register(CHECKED, ttl=TTL)
    await house.find(CHECKED, SICK)
    for instance, leases in ((stays, 0), (CHECKED, 1), (stays, 0)):
        await house.registry.register(instance, ttl=TTL)
        assert house.store.statistics().leases == leases
        found = (await house.registry.instances()).instances
        assert [(each.kind, each.state) for each in found] == [(instance.kind, "critical")]
    await house.registry.register(CHECKED, ttl=TTL)
    await house.pass_time(TTL)
    assert await house.keys() == ["catalogue/1/known"]


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


async def test_everything_is_gone_with_an_explicit_deregistration(house: House) -> None:
    await house.registry.register(CHECKED, ttl=TTL)
    await house.registry.set_order("catalogue", "1", DRAIN)
    await house.find(CHECKED, SICK)
    await house.registry.deregister("catalogue", "1")
    assert await house.keys() == []
    await house.registry.register(ONE, ttl=TTL)
    assert await house.states() == ["serving"]


async def test_deregistering_ends_what_is_kept_in_use_though_it_fell(house: House) -> None:
    three = [replace(ONE, id=InstanceId(name), port=80 + int(name)) for name in "123"]
    for one in three:
        await house.registry.register(one, ttl=TTL)
    await house.pass_time(TTL)
    assert await house.states() == ["serving"] * 3
    await house.registry.deregister("catalogue", "1")
    assert await house.endpoints() == [], "the guard is off for two"
    with pytest.raises(InstanceNotRegistered):
        await house.registry.deregister("catalogue", "1")


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
    assert await house.keys() == []


async def test_health_hangs_on_the_lease_of_its_instance(house: House) -> None:
    await house.registry.register(CHECKED, ttl=TTL)
    await house.find(CHECKED, SICK)
    await house.registry.register(CHECKED, ttl=TTL * 2)
    assert await house.states() == ["critical"]
    await house.pass_time(TTL * 2)
    assert await house.keys() == ["catalogue/1/known"]


async def test_health_of_what_is_not_registered_is_not_kept(house: House) -> None:
    await house.find(CHECKED, SICK)
    assert await house.keys() == []


async def test_health_that_is_no_other_writes_nothing(house: House) -> None:
    await house.registry.register(CHECKED, ttl=TTL)
    await house.find(CHECKED, WELL)
    before = house.store.statistics().revision
    await house.find(CHECKED, WELL)
    assert house.store.statistics().revision == before


async def test_health_that_was_found_of_another_registration_is_written_to_that_of_now(
    house: House,
) -> None:
    await house.registry.register(CHECKED, ttl=TTL)
    attempts = 0

    async def write(then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await house.registry.register(CHECKED, ttl=TTL * 3)
        return await house.store.txn(compare, then)

    await house.registry.telling(write).health({("catalogue", CHECKED.id): SICK})
    assert attempts == 2
    await house.pass_time(TTL * 2)
    assert await house.states() == ["critical"]


async def test_health_of_many_is_few_transactions_even_when_some_changed_meanwhile(
    house: House,
) -> None:
    many = [replace(CHECKED, id=InstanceId(f"n{n}"), port=1000 + n) for n in range(100)]
    for one in many:
        await house.registry.register(one, ttl=TTL)
    writes = 0

    async def write(then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        nonlocal writes
        writes += 1
        if writes == 2:
            await house.registry.deregister("catalogue", many[40].id)
        return await house.store.txn(compare, then)

    telling = house.registry.telling(write)
    await telling.care({"catalogue": Care(protect=1.0)}, ())
    writes = 0
    await telling.health({("catalogue", one.id): SICK for one in many})
    assert await house.states() == ["critical"] * 99
    assert writes <= 4 + 32


async def test_recovered_instance_counts_again(house: House) -> None:
    await house.registry.register(CHECKED, ttl=TTL)
    await house.find(CHECKED, SICK)
    await house.registry.telling(house.write).let_go([("catalogue", CHECKED.id)])
    assert await house.keys() == ["catalogue/1", "catalogue/1/health"]
    await house.find(CHECKED, WELL)
    assert await house.keys() == ["catalogue/1", "catalogue/1/health", "catalogue/1/known"]


async def test_nobody_is_let_go_who_came_back_meanwhile(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.pass_time(TTL)

    async def write(then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        await house.registry.register(ONE, ttl=TTL)
        return await house.store.txn(compare, then)

    await house.registry.telling(write).let_go([("catalogue", ONE.id)])
    assert await house.keys() == ["catalogue/1", "catalogue/1/known"]


async def test_report_keeps_a_check_passing_for_its_ttl_and_writes_nothing_again(
    house: House,
) -> None:
    await house.registry.register(REPORTING, ttl=TTL * 100)
    assert await house.states() == ["critical"]
    await house.registry.report("catalogue", "1", "ttl", CheckStatus.PASSING, "fine")
    assert await house.states() == ["serving"]
    before = house.store.statistics().revision
    for _ in range(10):
        await house.pass_time(TTL * 0.8)
        await house.registry.report("catalogue", "1", "ttl", CheckStatus.PASSING, "still fine")
    assert house.store.statistics().revision == before
    assert await house.states() == ["serving"]
    await house.pass_time(TTL)
    assert await house.states() == ["critical"]
    await house.registry.report("catalogue", "1", "ttl", CheckStatus.WARNING)
    assert await house.states() == ["serving"]
    await house.registry.report("catalogue", "1", "ttl", CheckStatus.CRITICAL, "broken")
    (found,) = (await house.registry.instances()).instances
    assert found.reason == "check ttl: broken"
    await house.registry.deregister("catalogue", "1")
    assert await house.keys() == []


async def test_report_of_what_passes_from_the_start_is_made_by_registering(house: House) -> None:
    check = replace(ttl_check("5s"), initial=CheckStatus.PASSING)
    await house.registry.register(replace(REPORTING, checks=(check,)), ttl=TTL * 100)
    assert await house.states() == ["serving"]
    await house.pass_time(TTL)
    assert await house.states() == ["critical"]
    await house.registry.register(replace(REPORTING, checks=(check,), weight=2), ttl=TTL * 100)
    assert await house.states() == ["critical"], "only a beginning is taken on trust"


async def test_report_is_refused_of_a_check_that_nobody_may_report(house: House) -> None:
    with pytest.raises(InstanceNotRegistered):
        await house.registry.report("catalogue", "1", "ttl", CheckStatus.PASSING)
    await house.registry.register(CHECKED, ttl=TTL)
    for check_id in ("http", "ttl"):
        with pytest.raises(CheckUnknown, match="register it with such a check"):
            await house.registry.report("catalogue", "1", check_id, CheckStatus.PASSING)
    await house.registry.register(REPORTING, ttl=TTL)
    with pytest.raises(CheckUnknown, match="report one of ttl"):
        await house.registry.report("catalogue", "1", "http", CheckStatus.PASSING)


async def test_node_remembers_when_it_heard_from_an_instance(house: House) -> None:
    assert house.registry.last_heartbeat("catalogue", "1") is None
    await house.registry.register(ONE, ttl=TTL)
    assert house.registry.last_heartbeat("catalogue", "1") == house.clock.wall()
    await house.registry.deregister("catalogue", "1")
    assert house.registry.last_heartbeat("catalogue", "1") is None


async def test_orders_to_those_that_are_gone_for_long_are_forgotten(house: House) -> None:
    for name in ("1", "2"):
        one = replace(ONE, id=InstanceId(name), port=80 + int(name))
        await house.registry.register(one, ttl=TTL * int(name))
        await house.registry.set_order("catalogue", name, DRAIN)
    await house.pass_time(TTL)
    telling = house.registry.telling(house.write)
    await telling.let_go([("catalogue", InstanceId("1"))])
    async with house.registry.following() as steps:
        fold, _ = await anext(steps)
        assert stale_orders(fold, DRAIN.since) == []
        stale = stale_orders(fold, DRAIN.since + TTL)
    assert stale == [("catalogue", "1")]
    for each in [*stale, ("catalogue", InstanceId("2"))]:
        await telling.forget_order(*each)
    assert "catalogue/1/order" not in await house.keys()
    assert "catalogue/2/order" in await house.keys(), "it is registered"
