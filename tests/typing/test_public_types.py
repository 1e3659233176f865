"""What type checkers see of the public names; mypy reads this file, pytest runs it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

from moreton.kernel import Clock, Instant, Machine, SystemClock, seeded_rng
from moreton.kernel.host import MachineHost
from moreton.registry import Instance, Registration, register
from moreton.registry.discovery import AsyncDiscovery, Choice, Discovery
from moreton.sim.script import Command
from moreton.store import Compare, Put, RangeResult, Store, TxnResult, open_store
from moreton.testing import LoadReport, SteadyLoad, VirtualClock


class Echo:
    """A machine of strings that says lengths."""

    def handle(self, event: str, now: Instant) -> Sequence[int]:
        del now
        return [len(event)]

    def wake(self, now: Instant) -> Sequence[int]:
        del now
        return []

    def deadline(self) -> Instant | None:
        return None


async def perform(effect: int) -> None:
    del effect


def test_machines_and_clocks_are_protocols() -> None:
    machine: Machine[str, int] = Echo()
    assert_type(machine.handle("a", Instant(0)), Sequence[int])
    host = MachineHost(machine, perform)
    assert_type(host, MachineHost[str, int])
    clocks: list[Clock] = [SystemClock(), VirtualClock()]
    assert_type(clocks[0].now() - clocks[0].now(), timedelta)
    assert_type(Instant(0) + timedelta(seconds=1), Instant)
    assert seeded_rng(1).random() == seeded_rng(1).random()


async def test_store_calls_have_types() -> None:
    store: Store = open_store("memory:")
    assert_type(await store.put(b"k", b"v"), int)
    assert_type(await store.range(b"k"), RangeResult)
    unchanged = Compare.version(b"k", "=", 1)
    assert_type(await store.txn([unchanged], [Put(b"k", b"w")]), TxnResult)
    await store.close()


async def found(discovery: Discovery, asynchronous: AsyncDiscovery) -> None:
    """Never called: it is the types that count."""
    assert_type(discovery.instances("orders"), tuple[Instance, ...])
    assert_type(await asynchronous.instances("orders"), tuple[Instance, ...])
    with discovery.choose("orders") as chosen, await asynchronous.choose("orders") as another:
        assert_type(chosen, Choice)
        assert_type(another.instance, Instance)


def test_load_and_scripts_have_types() -> None:
    load = SteadyLoad("http://127.0.0.1:1/", rate=1)
    assert_type(load.report, LoadReport)
    assert_type(Command("a").items("k"), list[str])


if TYPE_CHECKING:
    assert_type(register("catalogue", port=8001), Registration)
    Path(register("catalogue"))  # type: ignore[arg-type, call-arg]  # a port is needed
    open_store(7)  # type: ignore[arg-type]
    MachineHost(Echo(), "no callable")  # type: ignore[arg-type]
