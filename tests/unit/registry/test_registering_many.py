from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from moreton.registry import Instance, InstanceId, InstanceRegistered
from moreton.registry.core.checks import Check, TtlProbe
from moreton.registry.core.standing import CheckStatus, InstanceKind
from moreton.registry.errors import InstanceIdTaken
from unit.registry.house import ONE, TTL, House

STAYS = replace(ONE, kind=InstanceKind.PERSISTENT)


def those(count: int) -> list[Instance]:
    return [
        replace(STAYS, id=InstanceId(f"{n:03}"), address=f"10.0.1.{n}") for n in range(1, count + 1)
    ]


async def test_those_that_are_new_come_at_once(house: House) -> None:
    async with house.registry.watch() as changes:
        await anext(changes)
        await house.registry.register_persistent(those(10))
        heard = [await anext(changes) for _ in range(10)]
    assert heard == [InstanceRegistered(heard[0].revision, each) for each in those(10)]
    assert (await house.registry.instances()).instances == tuple(those(10))
    assert house.registry.last_heartbeat("catalogue", "010") == house.clock.wall()


async def test_more_than_fit_into_one_transaction_come_as_well(house: House) -> None:
    await house.registry.register_persistent(those(200), write=house.write)
    assert (await house.registry.instances()).instances == tuple(those(200))
    await house.registry.register_persistent([])


async def test_they_are_as_if_each_had_been_registered(house: House) -> None:
    check = Check("beat", TtlProbe(timedelta(seconds=5)), initial=CheckStatus.PASSING)
    some = [replace(each, checks=(check,)) for each in those(3)]
    await house.registry.register_persistent(some)
    together = await house.keys()
    for each in some:
        await house.registry.deregister(each.service, each.id)
    assert await house.keys() == []
    for each in some:
        await house.registry.register(each)
    assert await house.keys() == together


async def test_those_that_were_there_are_changed_or_left(house: House) -> None:
    first, second, third = those(3)
    await house.registry.register(first)
    was = (await house.registry.register(replace(second, zone="a"))).revision
    await house.registry.register(replace(third, kind=InstanceKind.EPHEMERAL), ttl=TTL)
    await house.registry.register_persistent(those(4))
    found = await house.registry.instances()
    assert found.instances == tuple(those(4))
    # The second, the third and its lease, the fourth: nothing was written of the first.
    assert found.revision == was + 1 + 3
    await house.pass_time(2 * TTL)
    assert (await house.registry.instances()).instances == tuple(those(4))


async def test_an_id_that_lives_elsewhere_is_refused(house: House) -> None:
    some = those(3)
    await house.registry.register(replace(some[1], address="10.9.9.9"))
    with pytest.raises(InstanceIdTaken, match=r"10\.9\.9\.9"):
        await house.registry.register_persistent(some)
