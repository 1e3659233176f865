"""A tiny protocol driven through every fault: a counter that a client raises by acknowledged steps.

The server persists each step before it acknowledges. Whatever the network and crashes do, a step
that was acknowledged is there after a restart, and the count never exceeds the steps sent.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from moreton.kernel.time import Instant
from moreton.sim.disk import Torn
from moreton.sim.network import Faults
from moreton.sim.world import Deliver, Persist, Send, Sync, World, WorldFault

RETRY = timedelta(milliseconds=20)
STEPS = 40
ROUGH = Faults(lose=0.2, duplicate=0.2, linger=0.1)


@dataclass(frozen=True)
class Acknowledged:
    step: int


class Client:
    """Sends step after step, each again until it is acknowledged."""

    def __init__(self, records: Sequence[bytes]) -> None:
        self.step = len(records)
        self._due: Instant | None = Instant(0)

    def handle(self, event: Deliver, now: Instant) -> list[Any]:
        if event.message != self.step or self.step >= STEPS:
            return []
        self.step += 1
        self._due = now
        return [Persist(b"done"), Acknowledged(event.message), *self.wake(now)]

    def wake(self, now: Instant) -> list[Any]:
        if self.step >= STEPS:
            self._due = None
            return []
        self._due = now + RETRY
        return [Send("server", self.step)]

    def deadline(self) -> Instant | None:
        return self._due


class Server:
    """Persists a step, then acknowledges it."""

    honest = True

    def __init__(self, records: Sequence[bytes]) -> None:
        self.done = [int(record) for record in records]

    def handle(self, event: Deliver, now: Instant) -> list[Any]:
        del now
        step = event.message
        if step in self.done:
            return [Send(event.source, step)]
        self.done.append(step)
        persist = Persist(str(step).encode(), sync=self.honest)
        return [persist, Send(event.source, step)]

    def wake(self, now: Instant) -> list[Any]:
        del now
        return []

    def deadline(self) -> Instant | None:
        return None


class Forgetful(Server):
    """Acknowledges what may yet be lost."""

    honest = False


def story(seed: int, server: type[Server] = Server, faults: Faults = ROUGH) -> World:
    acknowledged: list[int] = []

    def observe(_: Hashable, effect: Any) -> None:
        acknowledged.append(effect.step)

    world = World(seed, faults=faults, observe=observe)
    world.add("client", Client)
    node = world.add("server", server)

    def crash() -> None:
        world.crash("server")
        world.at(timedelta(milliseconds=30), lambda: world.restart("server"))
        world.at(timedelta(milliseconds=150), crash)

    world.at(timedelta(milliseconds=100), crash)
    for _ in range(200):
        world.run(timedelta(milliseconds=50))
        if node.machine is not None:
            kept = node.machine.done  # type: ignore[attr-defined]
            world.check(len(set(kept)) == len(kept), "a step was counted twice")
            world.check(set(acknowledged) <= set(kept), "an acknowledged step is gone")
        if len(acknowledged) == STEPS:
            break
    world.check(acknowledged == list(range(STEPS)), f"only {len(acknowledged)} steps were done")
    return world


@pytest.mark.parametrize("seed", range(30))
def test_acknowledged_steps_survive_every_fault(seed: int) -> None:
    world = story(seed)
    counts = world.network.counts
    for fault in ("lost", "duplicated", "lingered", "reordered"):
        assert counts[fault], fault
    assert world.crashes > 1


def test_same_seed_gives_the_same_trace() -> None:
    assert story(7).trace == story(7).trace
    assert story(7).trace != story(8).trace


def test_machine_that_acknowledges_before_it_syncs_is_caught() -> None:
    def stories() -> None:
        for seed in range(50):
            story(seed, Forgetful)

    with pytest.raises(WorldFault, match=r"seed \d+: an acknowledged step is gone"):
        stories()


def test_partition_stops_progress_and_healing_resumes_it() -> None:
    world = World(1)
    client = world.add("client", Client)
    world.add("server", Server)
    world.network.partition(["client"], ["server"])
    world.run(timedelta(seconds=1))
    assert client.machine is not None
    assert client.machine.step == 0  # type: ignore[attr-defined]
    assert world.network.counts["cut"] > 10
    world.network.heal()
    assert world.run(
        timedelta(seconds=10),
        until=lambda: client.machine.step == STEPS,  # type: ignore[union-attr]
    )


def test_one_way_cut_lets_the_other_way_pass() -> None:
    world = World(1)
    world.add("client", Client)
    server = world.add("server", Server)
    world.network.cut(["server"], ["client"])
    world.run(timedelta(seconds=1))
    assert server.machine is not None
    assert server.machine.done == [0]  # type: ignore[attr-defined]


def test_paused_node_takes_its_events_when_it_goes_on() -> None:
    world = World(1)
    world.add("client", Client)
    server = world.add("server", Server)
    world.pause("server")
    world.run(timedelta(seconds=1))
    assert server.machine.done == []  # type: ignore[union-attr]
    world.resume("server")
    assert server.machine.done == [0]  # type: ignore[union-attr]


def test_fast_clock_retries_sooner() -> None:
    sent = []
    for drift in (0.0, 1.0):
        world = World(1)
        client = world.add("client", Client)
        client.drift = drift
        world.run(timedelta(seconds=1))
        sent.append(world.network.counts["sent"])
    assert sent[1] > 1.8 * sent[0]


def test_clock_whose_drift_changes_never_jumps() -> None:
    world = World(1)
    client = world.add("client", Client)
    local = []
    for drift in (0.5, -0.5, 0.0):
        world.set_drift("client", drift)
        local.append(client.local(world.now.nanos))
        world.run(timedelta(seconds=1))
    local.append(client.local(world.now.nanos))
    assert local == [0, 1_500_000_000, 2_000_000_000, 3_000_000_000]


def test_whoever_asks_is_told_of_messages_that_do_not_arrive() -> None:
    lost: list[Any] = []
    world = World(1, lost=lambda *each: lost.append(each))
    world.add("client", Client)
    world.run(timedelta(milliseconds=10))
    assert lost == [("client", "server", 0)]  # there is no server
    world.add("server", Server)
    world.network.partition(["client"], ["server"])
    world.run(timedelta(milliseconds=20))
    assert lost[1:] == [("client", "server", 0)]


def test_sync_makes_durable_what_was_written_before() -> None:
    class Lazy(Client):
        def wake(self, now: Instant) -> list[Any]:
            self._due = None if self.step else now
            self.step += 1
            return [Persist(self.step, sync=False), *([Sync()] if self.step == 1 else [])]

    kept = set()
    for seed in range(30):
        world = World(seed, tear=True)
        disk = world.add("client", Lazy).disk
        world.run(timedelta(milliseconds=1))
        world.crash("client")
        kept.add(tuple(disk.read()))
    assert kept == {(1,), (1, 2), (1, Torn(2))}


def test_order_is_kept_when_the_network_is_like_tcp() -> None:
    world = story(3, faults=Faults(linger=0.3, in_order=True))
    assert world.network.counts["lingered"]
    assert not world.network.counts["reordered"]


def test_torn_write_leaves_a_part_of_a_record() -> None:
    torn = 0
    for seed in range(40):
        world = World(seed, tear=True)
        disk = world.add("server", Server).disk
        disk.append(b"1234567890")
        world.crash("server")
        assert all(b"1234567890".startswith(record) for record in disk.read())
        torn += disk.torn
    assert torn
