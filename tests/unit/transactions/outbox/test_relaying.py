"""Relays against a table, a lease and a broker of plain Python, in virtual time, with any fault."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

import pytest

from moreton.kernel.time import Instant
from moreton.transactions.outbox.core import relaying as core
from moreton.transactions.outbox.core.relaying import RelayMachine, Row, first_fitting
from moreton.transactions.outbox.core.tenure import Seen, Tenure

TTL = timedelta(seconds=3)
FREE = Seen("", 0, 0)


@dataclass
class World:
    """What the database and the broker hold; positions are drawn before they become visible."""

    lease: Seen = FREE
    visible: dict[int, str] = field(default_factory=dict)
    sent: set[int] = field(default_factory=set)
    stored: list[int] = field(default_factory=list)
    fenced: int = 0
    doubtful: int = 0


def perform(world: World, name: str, effect: core.Effect, fault: str) -> core.Happened:
    if fault == "before":
        return core.Failed()
    event = _do(world, name, effect)
    if isinstance(event, core.Fenced):
        world.fenced += 1
    if fault == "after":
        world.doubtful += 1
        return core.Failed()
    return event


def _do(world: World, name: str, effect: core.Effect) -> core.Happened:  # noqa: PLR0911
    match effect:
        case core.Look():
            return core.LeaseSeen(world.lease)
        case core.Take(seen):
            if seen != world.lease:
                return core.Fenced()
            world.lease = Seen(name, seen.token + 1, 0)
            return core.LeaseTaken(world.lease.token)
        case core.Read(limit):
            return core.RowsRead(_unsent(world, limit))
        case core.Publish(rows, body):
            assert [each["n"] for each in json.loads(body)] == [row.position for row in rows]
            world.stored += [row.position for row in rows]
            return core.Published(rows)
        case core.Mark() | core.Beat() | core.Prune():
            if effect.token != world.lease.token:
                return core.Fenced()
            world.lease = Seen(world.lease.holder, effect.token, world.lease.beat + 1)
            if isinstance(effect, core.Prune):
                return core.Pruned(more=False)
            if isinstance(effect, core.Mark):
                world.sent |= {row.position for row in effect.rows}
                return core.Marked(_unsent(world, effect.limit))
            return core.Done()


def _unsent(world: World, limit: int) -> list[Row]:
    unsent = sorted(set(world.visible) - world.sent)[: min(limit, 3)]
    return [Row(each, world.visible[each]) for each in unsent]


def run(seed: int) -> World:
    """Three relays that fail, freeze and die, while transactions commit out of order."""
    rng = Random(seed)
    world = World()
    now = Instant(0)
    relays: dict[str, tuple[RelayMachine, list[core.Effect]]] = {}
    frozen: dict[str, Instant] = {}
    pending: list[int] = []
    drawn = 0
    for step in range(3000):
        calm = step > 2000
        now += timedelta(milliseconds=rng.randrange(60))
        if not calm and rng.random() < 0.2 and drawn < 200:
            drawn += 1
            pending.append(drawn)
        if pending and (calm or rng.random() < 0.2):
            # A key is locked from its position on: its transactions commit in that order.
            number = pending.pop(rng.randrange(len(pending)))
            key = number % 4
            older = [each for each in pending if each % 4 == key and each < number]
            for each in sorted([*older, number]):
                world.visible[each] = json.dumps({"n": each})
            pending = [each for each in pending if each not in older]
        name = f"relay {rng.randrange(3)}"
        if name not in relays:
            relays[name] = (RelayMachine(Tenure(TTL)), [])
        machine, effects = relays[name]
        if not calm and rng.random() < 0.01:
            del relays[name]  # killed
            continue
        if not calm and rng.random() < 0.02:
            frozen[name] = now + timedelta(seconds=rng.randrange(10))
        if frozen.get(name, now) > now:
            continue
        if not effects:
            effects.extend(machine.wake(now))
        if effects:
            fault = "" if calm else rng.choice([""] * 8 + ["before", "after"])
            effects.extend(machine.handle(perform(world, name, effects.pop(0), fault), now))
    assert not pending
    assert set(world.visible) == world.sent, f"seed {seed}"
    return world


def first_times(stored: list[int], key: int) -> list[int]:
    return list(dict.fromkeys(each for each in stored if each % 4 == key))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [10, pytest.param(2000, marks=pytest.mark.soak)])
def test_relays_lose_nothing_and_keep_the_order_of_keys_through_every_fault(seeds: int) -> None:
    fenced = doubtful = repeated = 0
    for seed in range(seeds):
        world = run(seed)
        assert set(world.stored) == set(world.visible), f"seed {seed}"
        for key in range(4):
            order = first_times(world.stored, key)
            assert order == sorted(order), f"seed {seed}"
        fenced += world.fenced
        doubtful += world.doubtful
        repeated += len(world.stored) - len(set(world.stored))
    assert min(fenced, doubtful, repeated) >= seeds, "the faults did not happen"


def rows(*sizes: int) -> list[Row]:
    return [Row(number, "x" * size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize(
    ("sizes", "fit"), [((4, 4, 4), 2), ((9, 4), 1), ((20, 4), 1), ((1, 1, 1), 3)]
)
def test_message_holds_as_many_rows_as_fit_and_one_at_least(
    sizes: tuple[int, ...], fit: int
) -> None:
    assert len(first_fitting(rows(*sizes), 10)) == fit


def test_idle_relay_reads_when_rung_and_not_before_its_poll() -> None:
    machine = RelayMachine(Tenure(TTL))
    now = Instant(0)
    (look,) = machine.wake(now)
    assert look == core.Look()
    (take,) = machine.handle(core.LeaseSeen(Seen("", 0, 0)), now)
    assert isinstance(take, core.Take)
    (read,) = machine.handle(core.LeaseTaken(1), now)
    assert isinstance(read, core.Read)
    assert machine.handle(core.RowsRead([]), now) == ()
    assert machine.wake(now) == (core.Prune(1),)
    assert machine.handle(core.Pruned(more=False), now) == ()
    assert isinstance(machine.wake(now)[0], core.Read)
    assert machine.handle(core.Rang(), now) == (), "a read is under way"
    assert machine.handle(core.RowsRead([]), now) == ()
    assert isinstance(machine.wake(now)[0], core.Read), "it was rung meanwhile"
    machine.handle(core.RowsRead([]), now)
    assert machine.wake(now) == ()
    assert isinstance(machine.handle(core.Rang(), now)[0], core.Read)


def idle(told: core.Told) -> RelayMachine:
    """One that leads and has just found nothing; it neither beats nor prunes again for an hour."""
    machine = RelayMachine(Tenure(timedelta(hours=1)), told)
    machine.wake(Instant(0))
    machine.handle(core.LeaseSeen(FREE), Instant(0))
    machine.handle(core.LeaseTaken(1), Instant(0))
    machine.handle(core.RowsRead([]), Instant(0))
    return machine


def waits_of(machine: RelayMachine, now: Instant, count: int) -> tuple[list[int], Instant]:
    """The milliseconds that an idle *machine* waits before each of its next *count* reads."""
    found: list[int] = []
    while len(found) < count:
        deadline = machine.deadline()
        assert deadline is not None
        (effect,) = machine.wake(deadline)
        if isinstance(effect, core.Read):
            found.append(round((deadline - now).total_seconds() * 1000))
            machine.handle(core.RowsRead([]), deadline)
        else:
            assert isinstance(effect, core.Prune)
            machine.handle(core.Pruned(more=False), deadline)
        now = deadline
    return found, now


def test_relay_looks_soon_after_a_message_then_less_and_less_often() -> None:
    machine = idle(core.Told(prune=timedelta(hours=1)))
    waits, now = waits_of(machine, Instant(0), 6)
    assert waits[-2:] == [20, 20], "idle for long"
    many = rows(*[4] * core.LINGER_EVENTS)
    (read,) = machine.handle(core.Rang(), now)
    assert isinstance(read, core.Read)
    machine.handle(core.RowsRead(many), now)
    (mark,) = machine.handle(core.Published(many), now)
    assert isinstance(mark, core.Mark)
    machine.handle(core.Marked([]), now)
    waits, _ = waits_of(machine, now, 6)
    assert waits == [2, 5, 11, 20, 20, 20]


def test_relay_told_not_to_linger_waits_between_looks_all_the_same() -> None:
    machine = idle(core.Told(linger=timedelta(0), prune=timedelta(hours=1)))
    assert waits_of(machine, Instant(0), 8)[0][-2:] == [20, 20]


def test_relay_reads_between_prunings_until_all_is_pruned() -> None:
    machine = RelayMachine(Tenure(TTL))
    now = Instant(0)
    machine.wake(now)
    machine.handle(core.LeaseSeen(Seen("", 0, 0)), now)
    machine.handle(core.LeaseTaken(1), now)
    machine.handle(core.RowsRead([]), now)
    found = []
    for more in (True, True, False):
        deadline = machine.deadline()
        assert deadline is not None
        now = max(now, deadline)
        while isinstance(effect := machine.wake(now)[0], core.Read):
            found.append("read")
            machine.handle(core.RowsRead([]), now)
            deadline = machine.deadline()
            assert deadline is not None
            now = max(now, deadline)
        assert isinstance(effect, core.Prune)
        found.append("prune")
        machine.handle(core.Pruned(more=more), now)
    assert found.count("prune") == 3
    assert "read" in found
    deadline = machine.deadline()
    assert deadline is not None
    assert now < deadline or isinstance(machine.wake(now)[0], core.Read), "all is pruned"


def test_relay_waits_longer_after_each_failure_even_when_rung() -> None:
    told = core.Told(retry=timedelta(seconds=1), retry_max=timedelta(seconds=4))
    machine = RelayMachine(Tenure(TTL), told)
    now = Instant(0)
    waits = []
    for _ in range(4):
        machine.wake(now)
        machine.handle(core.Failed(), now)
        assert machine.handle(core.Rang(), now) == ()
        deadline = machine.deadline()
        assert deadline is not None
        waits.append(round((deadline - now).total_seconds()))
        now = deadline
    assert waits == [1, 2, 4, 4]
