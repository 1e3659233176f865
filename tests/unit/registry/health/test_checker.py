from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.registry import Instance, InstanceId, InstanceView, Registry
from moreton.registry.core.checks import Care, Check, CommandProbe, HttpProbe, TcpProbe
from moreton.registry.core.documents import PREFIX
from moreton.registry.core.instance import TTL_DEFAULT
from moreton.registry.core.standing import CheckStatus, InstanceKind
from moreton.registry.health import http_check
from moreton.registry.health.checker import Checker
from moreton.registry.health.looking import Finding
from moreton.registry.health.tcp import look_tcp
from moreton.store import Compare, LeaseId, Store, TxnResult, open_store, prefix_end
from moreton.store.core.model import Op
from moreton.store.errors import StoreFull

PATIENCE_SECONDS = 120.0  # of a thousand instances on a machine that does more
QUICK = http_check(interval="100ms")


@dataclass
class Ward:
    """A registry, its checker, and what is found at instances by their port."""

    store: Store
    registry: Registry
    found: dict[int, CheckStatus] = field(default_factory=dict)
    fails: int = 0  # so many writes from now on
    writes: int = 0

    async def look(self, instance: Instance, _: HttpProbe) -> Finding:
        return Finding(self.found.get(instance.port, CheckStatus.PASSING), "seen")

    async def write(self, then: Sequence[Op], *, compare: Sequence[Compare] = ()) -> TxnResult:
        if self.fails:
            self.fails -= 1
            raise StoreFull(path=Path("store.sqlite"))
        self.writes += 1
        return await self.store.txn(compare, then)

    @asynccontextmanager
    async def checking(self) -> AsyncIterator[None]:
        checker = Checker(self.registry, {HttpProbe: self.look, TcpProbe: look_tcp})
        task = asyncio.create_task(checker.run(self.write))
        try:
            yield
        finally:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    async def register(
        self, number: int, *, ttl: timedelta = TTL_DEFAULT, **changes: object
    ) -> Instance:
        one = Instance(InstanceId(f"i{number}"), "shop", "127.0.0.1", number, checks=(QUICK,))
        one = replace(one, **changes)  # type: ignore[arg-type]
        await self.registry.register(one, ttl=ttl)
        return one

    async def states(self) -> list[str]:
        return [each.state for each in (await self.registry.instances()).instances]

    async def wait(self, condition: Callable[[list[Instance]], bool]) -> list[Instance]:
        view = InstanceView()
        async with asyncio.timeout(PATIENCE_SECONDS), self.registry.watch() as changes:
            async for change in changes:
                view.apply(change)
                found = list(view.of("shop"))
                if condition(found):
                    return found
        raise AssertionError("a watch has no end")

    async def wait_states(self, *states: str) -> list[Instance]:
        return await self.wait(lambda found: [each.state for each in found] == list(states))


@pytest.fixture
async def ward() -> AsyncIterator[Ward]:
    store = open_store("memory:")
    yield Ward(store, Registry(store))
    await store.close()


async def test_instance_serves_once_its_check_passed_and_is_out_when_it_fails(ward: Ward) -> None:
    await ward.register(80)
    assert await ward.states() == ["starting"]
    async with ward.checking():
        await ward.wait_states("serving")
        ward.found[80] = CheckStatus.CRITICAL
        (found,) = await ward.wait_states("critical")
        assert found.reason == "check http: seen"
        ward.found[80] = CheckStatus.PASSING
        await ward.wait_states("serving")


async def test_instance_that_registers_meanwhile_is_looked_at(ward: Ward) -> None:
    async with ward.checking():
        await ward.register(80)
        await ward.wait_states("serving")
        await ward.register(81)
        await ward.wait_states("serving", "serving")


async def test_nothing_is_written_while_nothing_changes(ward: Ward) -> None:
    await ward.register(80, checks=(QUICK, replace(QUICK, id="again")))
    async with ward.checking():
        await ward.wait(
            lambda found: (
                found[0].health is not None and all(each.since for each in found[0].health.checks)
            )
        )
        seen = 0

        async def count(_: Instance, __: HttpProbe) -> Finding:
            nonlocal seen
            seen += 1
            return Finding(CheckStatus.PASSING, f"seen {seen} times")

        before = ward.store.statistics().revision
        ward.look = count  # type: ignore[method-assign, assignment]
    async with ward.checking(), asyncio.timeout(PATIENCE_SECONDS):
        while seen < 5:
            await asyncio.sleep(0.01)
    assert ward.store.statistics().revision == before


async def test_new_leader_keeps_what_was_told_and_looks_on(ward: Ward) -> None:
    await ward.register(80)
    async with ward.checking():
        await ward.wait_states("serving")
    before = ward.writes
    async with ward.checking():
        ward.found[80] = CheckStatus.CRITICAL
        await ward.wait_states("critical")
    # One tells of it, and one that nothing listens there, so that it is not kept in use.
    assert ward.writes <= before + 2


async def test_check_of_a_kind_that_nobody_can_look_at_is_critical(ward: Ward) -> None:
    check = Check("command", CommandProbe(("true",)), interval=timedelta(milliseconds=100))
    await ward.register(80, checks=(check,))
    async with ward.checking():
        (found,) = await ward.wait_states("critical")
    assert found.reason == "check command: this control plane may not look at it so"


async def test_look_that_takes_too_long_or_breaks_is_a_failure(ward: Ward) -> None:
    async def look(instance: Instance, _: HttpProbe) -> Finding:
        if instance.port == 80:
            await asyncio.Event().wait()
        raise RuntimeError("broken")

    ward.look = look  # type: ignore[method-assign]
    await ward.register(80)
    await ward.register(81)
    async with ward.checking():
        slow, broken = await ward.wait_states("critical", "critical")
    assert slow.reason == "check http: no answer within 50ms"
    assert broken.reason == "check http: broken"


async def test_instance_that_is_critical_for_too_long_is_deregistered(ward: Ward) -> None:
    check = replace(QUICK, deregister_after=timedelta(milliseconds=200))
    await ward.register(80, checks=(check,), kind=InstanceKind.PERSISTENT)
    ward.found[80] = CheckStatus.CRITICAL
    async with ward.checking():
        await ward.wait(lambda found: not found)
    kvs = (await ward.store.range(PREFIX, prefix_end(PREFIX))).kvs
    assert kvs == ()


async def test_care_of_a_service_is_for_all_its_instances_and_takes_nobody_out_at_once(
    ward: Ward,
) -> None:
    await ward.register(80, checks=())
    async with ward.checking():
        telling = ward.registry.telling(ward.write)
        await telling.care({"shop": Care((QUICK,))}, ())
        assert await ward.states() == ["serving"]
        ward.found[80] = CheckStatus.CRITICAL
        await ward.wait_states("critical")
        await ward.register(81, checks=())
        await ward.wait_states("critical", "serving")
        await telling.care({}, ["shop"])
        assert await ward.states() == ["serving", "serving"]


async def test_what_the_store_refuses_is_written_later(ward: Ward) -> None:
    await ward.register(80)
    ward.fails = 3
    async with ward.checking():
        await ward.wait_states("serving")
    assert ward.fails == 0


async def test_those_that_fell_together_are_kept_while_they_answer_and_let_go_when_not(
    ward: Ward,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        await ward.register(port, checks=())
        for number in (1, 2, 3):
            await ward.register(number, checks=())
        async with ward.checking():
            for number in (1, 2, 3):
                await ward.store.revoke(await lease_of(ward.store, f"i{number}"))
            # Nothing listens at the ports 1 to 3, and at the fourth the living one does.
            await ward.wait(lambda found: [each.port for each in found] == [port])
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (await ward.store.range(b"/moreton/instances/shop/", b"/n")).count > 2:
                    await asyncio.sleep(0.01)


async def test_those_that_fell_together_and_answer_are_kept_in_use(ward: Ward) -> None:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = sorted(each.getsockname()[1] for each in servers)
    try:
        for port in ports:
            await ward.register(port, checks=())
        async with ward.checking():
            for port in ports:
                await ward.store.revoke(await lease_of(ward.store, f"i{port}"))
            found = await ward.wait(lambda found: len(found) == 3)
            assert all(each.kept for each in found)
            knocked = asyncio.to_thread(servers[0].accept)
            async with asyncio.timeout(PATIENCE_SECONDS):
                connection, _ = await knocked
            connection.close()
            assert len((await ward.registry.instances()).instances) == 3
            for port in ports[:2]:
                await ward.register(port, checks=())
            found = await ward.wait(lambda found: len(found) == 2)
            assert not any(each.kept for each in found)
    finally:
        for server in servers:
            server.close()


@pytest.mark.slow
@pytest.mark.long
async def test_thousand_that_fail_at_once_are_told_of_in_few_writes_and_kept(ward: Ward) -> None:
    for number in range(1, 1001):
        await ward.register(number, checks=(http_check(interval="1s"),))
    async with ward.checking():
        await ward.wait(lambda found: all(each.state == "serving" for each in found))
        before = ward.writes
        ward.found = dict.fromkeys(range(1, 1001), CheckStatus.CRITICAL)
        found = await ward.wait(lambda found: sum(each.kept for each in found) >= 990)
    assert all(each.state == "serving" for each in found)
    assert ward.writes - before <= 600


async def lease_of(store: Store, instance_id: str) -> LeaseId:
    found = (await store.range(f"/moreton/instances/shop/{instance_id}".encode())).kvs[0]
    assert found.lease is not None
    return found.lease
