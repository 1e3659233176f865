from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from moreton.kernel.host import InboxFull, MachineHost
from moreton.kernel.time import Instant, SystemClock


class Recorder:
    """Answers each event with two effects, and wakes once when it was told to."""

    def __init__(self) -> None:
        self.due: Instant | None = None

    def handle(self, event: str, now: Instant) -> Sequence[str]:
        if event == "arm":
            self.due = now + timedelta(milliseconds=1)
        return [f"persist {event}", f"send {event}"]

    def wake(self, now: Instant) -> Sequence[str]:
        if self.due is None or now < self.due:
            return []
        self.due = None
        return ["woke"]

    def deadline(self) -> Instant | None:
        return self.due


async def perform_into(performed: list[str], effect: str) -> None:
    await asyncio.sleep(0)
    performed.append(effect)


async def until(performed: list[str], count: int) -> None:
    async with asyncio.timeout(5):
        while len(performed) < count:
            await asyncio.sleep(0.001)


async def test_host_performs_effects_in_order_and_one_step_at_a_time() -> None:
    performed: list[str] = []
    host = MachineHost(Recorder(), lambda effect: perform_into(performed, effect))
    task = asyncio.create_task(host.run())
    for event in ("a", "b"):
        host.tell_nowait(event)
    await until(performed, 4)
    task.cancel()
    assert performed == ["persist a", "send a", "persist b", "send b"]
    assert host.statistics().events == 2


async def test_host_wakes_the_machine_at_its_deadline() -> None:
    performed: list[str] = []
    host = MachineHost(Recorder(), lambda effect: perform_into(performed, effect))
    task = asyncio.create_task(host.run())
    await host.tell("arm")
    await until(performed, 3)
    task.cancel()
    assert performed[-1] == "woke"
    assert host.statistics().wakes >= 1


async def test_host_refuses_more_than_its_inbox_holds() -> None:
    host = MachineHost(Recorder(), lambda effect: perform_into([], effect), inbox_max=2)
    host.tell_nowait("a")
    host.tell_nowait("b")
    with pytest.raises(InboxFull, match="2 events wait already"):
        host.tell_nowait("c")


async def test_host_ends_with_the_fault_of_an_effect() -> None:
    async def perform(effect: str) -> None:
        if effect.startswith("send"):
            raise OSError("no route")

    host = MachineHost(Recorder(), perform)
    host.tell_nowait("a")
    with pytest.raises(OSError, match="no route"):
        await host.run()


def test_system_clock_never_goes_back() -> None:
    clock = SystemClock()
    moments = [clock.now() for _ in range(100)]
    assert moments == sorted(moments)
    assert clock.wall().tzinfo is not None
