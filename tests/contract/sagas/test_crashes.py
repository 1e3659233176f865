"""A real process is killed at every boundary of a durable write, and the next one goes on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.transactions.failpoints import failpoints
from moreton.transactions.saga import Sagas
from moreton.transactions.saga.schedules.timetable import Timetable
from support.forking import Forks
from support.saga_worker import PLOT, TOTAL, Bank, World

# Those where most is under way.
WORST = ("claim.after", "rest.before")
PATIENCE = timedelta(seconds=30)


def check(url: str, world: World, rounds: int) -> None:
    """Every saga is where its plot ends; each effect that should be there is, once."""
    assert world.total() == TOTAL
    bank = Bank(world)
    with Sagas(url, *bank.all, bank.hourly.saga) as sagas:
        for number in range(rounds):
            for name, (_, _, end, effects) in PLOT.items():
                saga_id = f"{name}-{number}"
                assert sagas.find(saga_id).status() is end, saga_id
                assert world.in_force(saga_id) == effects, saga_id
        ticks = sagas._shop.ledger.listed(status=None, name="tick", most=1000)
        entry = Timetable(sagas._shop.ledger).entries()["hourly"]
        assert 0 < entry.starts == len(ticks)
        assert all(sagas.find(row.id).wait(PATIENCE) for row in ticks)
        assert all(world.in_force(row.id) == {"tick"} for row in ticks)
        for row in sagas._shop.ledger.listed(status=None, name="moved", most=1000):
            assert row.version == 2
            assert sagas.find(row.id).wait(PATIENCE)
            assert world.in_force(row.id) == {"first", "settle"}


def kill_at_each(points: list[str], url: str, world: World, forks: Forks) -> None:
    world.make()
    order = {"url": url, "world": str(world.path)}
    for number, point in enumerate(points):
        status = forks.run(**order, failpoint=point, round=number)
        assert status == -signal.SIGKILL, f"{point} was never passed"
        assert world.total() == TOTAL, f"killed at {point}"
    assert forks.run(**order, failpoint="", round=len(points)) == 0
    check(url, world, len(points) + 1)


def points_of(url: str) -> list[str]:
    kind = "sqlite" if url.startswith("sqlite") else "postgres"
    return failpoints(f"saga.{kind}.")


def lives(points: list[str]) -> Iterator[str]:
    """Where each life ends; that a saga was taken over is noted if the life before got further."""
    for point in points:
        if ".took-over." in point:
            yield point.rsplit(".", 2)[0] + ".step-done.after"
        yield point


@pytest.mark.long
def test_few_kills_lose_nothing(url: str, tmp_path: Path, forks: Forks) -> None:
    few = [point for point in points_of(url) if point.endswith((*WORST, "fire.after"))]
    assert len(few) == 3
    kill_at_each(few, url, World(tmp_path / "world"), forks)


@pytest.mark.soak
def test_kill_at_every_boundary_of_a_write_loses_nothing(
    url: str, tmp_path: Path, forks: Forks
) -> None:
    points = points_of(url)
    print(f"{len(points)} failpoints", file=sys.stderr)
    assert len(points) == {"sqlite": 44, "postgres": 46}[url.partition(":")[0].removesuffix("ql")]
    kill_at_each(list(lives(points)), url, World(tmp_path / "world"), forks)
