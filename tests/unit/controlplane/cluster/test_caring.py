"""Health checks as a duty of the leader, on a real store in memory."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from moreton.controlplane import following
from moreton.controlplane.assembly.troubles import Troubles
from moreton.controlplane.cluster.caring import _duty, _keep_working
from moreton.controlplane.cluster.duties import Leadership
from moreton.controlplane.following import Quiet
from moreton.registry import Instance, InstanceId, InstanceState, InstanceView, Registry
from moreton.registry.core.checks import HttpProbe
from moreton.registry.core.standing import CheckStatus, InstanceKind
from moreton.registry.health import http_check
from moreton.registry.health.checker import Checker
from moreton.registry.health.looking import Finding
from moreton.registry.registering import FencedWrite
from moreton.store import Store, open_store

CHECKS = (http_check(interval="100ms"),)
ONE = Instance(InstanceId("1"), "shop", "10.0.0.1", 80, checks=CHECKS, kind=InstanceKind.PERSISTENT)


class Hospital:
    """Nodes that would look, and how often each did."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.looks: Counter[str] = Counter()
        self.found = CheckStatus.PASSING

    @asynccontextmanager
    async def node(self, name: str) -> AsyncIterator[Leadership]:
        async def look(_: Instance, __: HttpProbe) -> Finding:
            self.looks[name] += 1
            return Finding(self.found, f"by {name}")

        checker = Checker(Registry(self.store), {HttpProbe: look})
        duties = [_duty(checker.run)]
        made = Leadership(self.store, name=name, duties=duties, troubles=Troubles())
        task = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait_state(self, state: InstanceState) -> Instance:
        view = InstanceView()
        async with asyncio.timeout(30), Registry(self.store).watch() as changes:
            async for change in changes:
                view.apply(change)
                for each in view.of("shop"):
                    if each.state is state:
                        return each
        raise AssertionError("a watch has no end")


@pytest.fixture
async def hospital() -> AsyncIterator[Hospital]:
    store = open_store("memory:")
    await Registry(store).register(ONE)
    yield Hospital(store)
    await store.close()


async def test_leader_alone_looks_and_the_next_goes_on_with_what_was_known(
    hospital: Hospital,
) -> None:
    async with hospital.node("a") as first:
        await hospital.wait_state(InstanceState.SERVING)
        async with hospital.node("b"):
            assert first.is_leader
            assert set(hospital.looks) == {"a"}
        before = hospital.store.statistics().revision
    async with hospital.node("b"), asyncio.timeout(30):
        while not hospital.looks["b"]:
            await asyncio.sleep(0.01)
        (known,) = (await Registry(hospital.store).instances()).instances
        assert known.state is InstanceState.SERVING
        hospital.found = CheckStatus.CRITICAL
        out = await hospital.wait_state(InstanceState.CRITICAL)
    assert out.reason == "check http: by b"
    assert hospital.store.statistics().revision > before


async def test_fault_of_ours_is_no_reason_to_look_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(following, "_REST_SECONDS", 0.0)
    begun = asyncio.Event()
    attempts = 0

    async def work(_: FencedWrite) -> None:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise RuntimeError("broken")
        begun.set()
        await asyncio.Event().wait()

    async def write(*_: object, **__: object) -> None: ...

    task = asyncio.create_task(_keep_working(work, write, Quiet()))  # type: ignore[arg-type]
    async with asyncio.timeout(timedelta(seconds=30).total_seconds()):
        await begun.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
