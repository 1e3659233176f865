from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.registry import (
    InstanceChange,
    InstanceId,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceState,
    InstanceUpdated,
    Registry,
)
from moreton.registry.errors import InstanceIdTaken, InstanceNotRegistered, InstanceNotValid
from moreton.store import open_store, prefix_end
from unit.registry.house import CART, DRAIN, ONE, TTL, TWO, House


async def test_instances_are_listed_by_service_and_prefix_when_registered(house: House) -> None:
    for each in (TWO, CART, ONE):
        await house.registry.register(each, ttl=TTL)
    assert (await house.registry.instances()).instances == (CART, ONE, TWO)
    assert (await house.registry.instances("catalogue")).instances == (ONE, TWO)
    assert (await house.registry.instances("cat")).instances == ()
    assert (await house.registry.instances(prefix="ca")).instances == (CART, ONE, TWO)
    assert (await house.registry.instances(prefix="cat")).instances == (ONE, TWO)


async def test_instances_are_listed_in_order_when_a_name_begins_another(house: House) -> None:
    for name in ("shop", "shop-a", "sho"):
        await house.registry.register(replace(ONE, service=name), ttl=TTL)
    found = (await house.registry.instances()).instances
    assert [each.service for each in found] == ["sho", "shop", "shop-a"]
    assert [each.service for each in (await house.registry.instances("shop")).instances] == ["shop"]


async def test_instances_and_their_leases_outlive_a_restart_of_the_registry(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/store.sqlite"
    before = open_store(url)
    await Registry(before).register(ONE, ttl=TTL)
    await before.close()
    after = open_store(url)
    registry = Registry(after)
    assert (await registry.instances()).instances == (ONE,)
    assert await registry.renew("catalogue", "1") == TTL
    await after.close()


async def test_instance_lies_where_the_contract_says(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    prefix = b"/moreton/instances/catalogue/"
    found = await house.store.range(prefix, prefix_end(prefix))
    assert [kv.key for kv in found.kvs] == [
        b"/moreton/instances/catalogue/1",
        b"/moreton/instances/catalogue/1/known",
    ]
    assert found.kvs[0].lease is not None
    assert found.kvs[1].lease is None


async def test_instance_disappears_when_its_ttl_passed_without_renewal(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.pass_time(TTL - timedelta(milliseconds=1))
    assert await house.endpoints() == ["10.0.0.1:80"]
    await house.pass_time(timedelta(milliseconds=1))
    assert await house.endpoints() == []
    with pytest.raises(InstanceNotRegistered, match="register it again"):
        await house.registry.renew("catalogue", "1")


async def test_instance_stays_as_long_as_it_renews_and_renewing_writes_nothing(
    house: House,
) -> None:
    await house.registry.register(ONE, ttl=TTL)
    before = house.store.statistics()
    for _ in range(100):
        await house.pass_time(TTL / 3)
        assert await house.registry.renew("catalogue", "1") == TTL
    after = house.store.statistics()
    assert (after.revision, after.history_events) == (before.revision, before.history_events)
    assert await house.endpoints() == ["10.0.0.1:80"]


@pytest.mark.slow
async def test_thousand_instances_are_kept_in_use_when_they_die_together_until_let_go(
    house: House,
) -> None:
    for number in range(1000):
        one = replace(ONE, id=InstanceId(f"n{number}"), port=1000 + number)
        await house.registry.register(one, ttl=TTL)
    await house.pass_time(TTL)
    assert house.store.statistics().leases == 0
    kept = (await house.registry.instances()).instances
    assert [each.kept for each in kept] == [True] * 1000
    gone = [(each.service, each.id) for each in kept]
    await house.registry.telling(house.write).let_go(gone)
    assert await house.endpoints() == []
    assert await house.keys() == []


async def test_id_is_refused_from_another_address_while_it_lives(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    with pytest.raises(InstanceIdTaken, match=r'"1" of service "catalogue" lives at 10.0.0.1:80'):
        await house.registry.register(replace(ONE, address="10.0.0.9"), ttl=TTL)
    with pytest.raises(InstanceIdTaken):
        await house.registry.register(replace(ONE, port=81), ttl=TTL)
    assert await house.endpoints() == ["10.0.0.1:80"]
    assert house.store.statistics().leases == 1, "a refusal leaves no lease behind"


async def test_id_is_free_for_another_address_when_its_lease_ended(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.pass_time(TTL)
    await house.registry.register(replace(ONE, address="10.0.0.9"), ttl=TTL)
    assert await house.endpoints() == ["10.0.0.9:80"]


async def test_id_is_another_in_another_service(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.register(CART, ttl=TTL)
    assert await house.endpoints() == ["10.0.0.3:80", "10.0.0.1:80"]


async def test_registering_again_keeps_the_lease_and_writes_nothing_when_nothing_changed(
    house: House,
) -> None:
    first = await house.registry.register(ONE, ttl=TTL)
    await house.pass_time(TTL * 0.9)
    again = await house.registry.register(ONE, ttl=TTL)
    assert (again.lease, again.revision) == (first.lease, first.revision)
    await house.pass_time(TTL * 0.9)
    assert await house.endpoints() == ["10.0.0.1:80"], "it renewed"


async def test_registering_again_changes_what_is_different(house: House) -> None:
    first = await house.registry.register(ONE, ttl=TTL)
    again = await house.registry.register(replace(ONE, weight=5), ttl=TTL)
    assert again.lease == first.lease
    assert (await house.registry.instances()).instances == (replace(ONE, weight=5),)


async def test_registering_again_with_another_ttl_changes_the_lease(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.register(ONE, ttl=TTL * 4)
    assert house.store.statistics().leases == 1
    await house.pass_time(TTL * 2)
    assert await house.endpoints() == ["10.0.0.1:80"]
    await house.pass_time(TTL * 2)
    assert await house.endpoints() == []


async def test_deregistering_ends_it_at_once_and_a_second_time_is_refused(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.deregister("catalogue", "1")
    assert await house.endpoints() == []
    assert house.store.statistics().leases == 0
    with pytest.raises(InstanceNotRegistered):
        await house.registry.deregister("catalogue", "1")


async def test_unknown_instance_is_refused_renewal(house: House) -> None:
    with pytest.raises(InstanceNotRegistered):
        await house.registry.renew("catalogue", "nobody")


async def test_bad_ttl_and_bad_service_are_refused(house: House) -> None:
    with pytest.raises(InstanceNotValid, match="ttl 10ms"):
        await house.registry.register(ONE, ttl=timedelta(milliseconds=10))
    with pytest.raises(InstanceNotValid, match="service name"):
        await house.registry.instances("a/b")


async def test_two_at_once_with_one_id_end_with_one_holder(house: House) -> None:
    other = replace(ONE, address="10.0.0.9")
    outcomes = await asyncio.gather(
        *(house.registry.register(each, ttl=TTL) for each in (ONE, other)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InstanceIdTaken", "Lease"]
    assert len(await house.endpoints()) == 1


async def test_new_ids_differ(house: House) -> None:
    assert house.registry.new_instance_id() != house.registry.new_instance_id()


async def test_watch_tells_all_there_is_and_then_each_change_in_order(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    async with house.registry.watch("catalogue") as changes:
        assert await anext(changes) == InstancesListed(2, (ONE,))
        await house.registry.register(CART, ttl=TTL)
        await house.registry.register(TWO, ttl=TTL)
        heavier = replace(TWO, weight=3)
        await house.registry.register(heavier, ttl=TTL)
        await house.registry.deregister("catalogue", "2")
        await house.pass_time(TTL)
        told = [await anext(changes) for _ in range(4)]
    assert told == [
        InstanceRegistered(4, TWO),
        InstanceUpdated(5, heavier, TWO),
        InstanceRemoved(6, "catalogue", TWO.id, heavier),
        InstanceRemoved(told[3].revision, "catalogue", ONE.id, ONE),
    ]


async def test_watch_goes_on_from_a_revision(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.register(TWO, ttl=TTL)
    async with house.registry.watch(from_revision=3) as changes:
        assert await anext(changes) == InstanceRegistered(3, TWO)


async def test_watch_lists_all_anew_when_its_history_is_gone(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    told: list[InstanceChange] = []
    async with house.registry.watch() as changes:
        told.append(await anext(changes))
        await house.registry.register(TWO, ttl=TTL)
        await house.registry.deregister("catalogue", "1")
        await house.store.compact((await house.registry.instances()).revision)
        told.append(await anext(changes))
    assert told == [InstancesListed(2, (ONE,)), InstancesListed(4, (TWO,))]


async def test_watch_goes_on_from_a_revision_with_the_orders_of_before(house: House) -> None:
    await house.registry.register(ONE, ttl=TTL)
    await house.registry.set_order("catalogue", "1", DRAIN)
    revision = (await house.registry.instances()).revision
    heavier = replace(ONE, weight=3)
    await house.registry.register(heavier, ttl=TTL)
    async with house.registry.watch(from_revision=revision + 1) as changes:
        told = await anext(changes)
    assert isinstance(told, InstanceUpdated)
    assert (told.instance.state, told.instance.weight) == (InstanceState.DRAINING, 3)
    assert (told.previous.state, told.previous.weight) == (InstanceState.DRAINING, 1)


@pytest.mark.parametrize("ahead", [1, 2, 3])
async def test_watch_waits_for_a_revision_that_is_yet_to_come(house: House, ahead: int) -> None:
    revision = (await house.registry.register(ONE, ttl=TTL)).revision
    async with house.registry.watch(from_revision=revision + ahead) as changes:
        coming = asyncio.ensure_future(anext(changes))
        await asyncio.sleep(0)
        for weight in (2, 3, 4):
            await house.registry.register(replace(ONE, weight=weight), ttl=TTL)
        told = await coming
    assert isinstance(told, InstanceUpdated)
    assert told.revision == revision + ahead
    assert (told.previous.weight, told.instance.weight) == (ahead, ahead + 1)
