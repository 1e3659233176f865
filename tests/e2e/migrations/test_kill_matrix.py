"""One migration through all of its stages, and a control plane that dies in and between them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.migrations.fleet import Fleet, Visitor, fleet_in
from e2e.migrations.watching import Watcher, outside
from moreton.cli.client import ApiRefused, ApiUnreachable
from moreton.controlplane.errors import NotRunning
from support.waits import join_all, wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.soak]

STAGES = [
    "shadow",
    {"users": {"header": "x-beta", "is": "yes"}},
    {"users": {"cookie": "beta", "is": "yes"}, "share": "2.5%"},
    "10%",
    {"users": {"header": "x-tenant", "is": ["acme", "big corp (1)"]}, "share": "25%"},
    {"share": "50%", "manual": True},
    {"share": "75%", "no_return": True},
    "100%",
]
FIRST = [
    {"x-beta": "yes", "cookie": "moreton_user=f0"},
    {"cookie": "moreton_user=f1; beta=yes"},
    {"x-tenant": "big corp (1)", "cookie": "moreton_user=f2"},
]
# From the order to the death: before it arrives, while it is written, once it is published.
DELAYS = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with fleet_in(tmp_path / "shop", {"walk": {"stages": STAGES, "soak": "1h"}}) as fleet:
        yield fleet


def killed_while(fleet: Fleet, order: str, delay: float) -> None:
    """Give *order*, and kill who takes it *delay* seconds later; there is another afterwards."""

    def give() -> None:
        with contextlib.suppress(ApiUnreachable, NotRunning, ApiRefused):
            path = f"/v1/migrations/walk/{order}"
            fleet.world.api.call("POST", path, {"force": True})

    thread = threading.Thread(target=give)
    thread.start()
    thread.join(delay)
    fleet.kill()
    join_all([thread])
    fleet.world.start()


def is_whole(fleet: Fleet, watcher: Watcher) -> bool:
    """Whether state, history and Envoy agree on the share."""
    entries = fleet.history("walk")
    share = entries[-1]["share"] if entries else 0.0
    watcher.wait_round()
    return bool(fleet.shown("walk")["share"] == share == watcher.shares["walk"][-1][1])


def test_weights_are_never_outside_what_a_stage_allows_whenever_the_control_plane_dies(
    fleet: Fleet,
) -> None:
    users = [Visitor(fleet, "walk", {"cookie": f"moreton_user=u{n}"}) for n in range(8)]
    visitors = [*users, *(Visitor(fleet, "walk", who) for who in FIRST)]
    stages, kills, followed = len(STAGES) + 1, 0, 0
    with Watcher(fleet, visitors) as watcher:
        for number in range(stages + 1):
            order = "start" if number == 0 else "advance"
            before = len(fleet.history("walk"))
            killed_while(fleet, order, DELAYS[number % len(DELAYS)])
            assert is_whole(fleet, watcher)
            followed += len(fleet.history("walk")) > before
            if len(fleet.history("walk")) == before:
                fleet.order("walk", order, force=True)
            for phase in ("pause", "resume", "freeze", "resume"):
                if number < stages:
                    fleet.order("walk", phase)
                    kills += phase != "resume" and is_there_again(fleet, watcher)
            at_rest = fleet.shown("walk")
            assert is_there_again(fleet, watcher)
            again = fleet.shown("walk")
            places = [(it["phase"], it["stage"], it["share"]) for it in (at_rest, again)]
            assert places[0] == places[1]
            kills += 2
        assert fleet.shown("walk")["phase"] == "done"
        assert [user.sides[-1] for user in visitors] == ["new"] * len(visitors)
        assert [user.sides for user in visitors if len(user.sides) > 2] == []
        for delay in DELAYS:
            killed_while(fleet, "rollback", delay)
            kills += 1
            if fleet.shown("walk")["phase"] == "rolled-back":
                break
        wait_until(lambda: {v.sides[-1] for v in visitors} == {"old"}, "all are back")
        assert is_whole(fleet, watcher)
        assert is_there_again(fleet, watcher)
    assert outside(watcher.shares["walk"], fleet.history("walk")) == ""
    assert [user.sides for user in visitors if len(user.sides) > 3] == []
    assert watcher.failures == []
    shares = [share for _, share in watcher.shares["walk"]]
    print(f"{kills} kills, {followed} orders followed; {watcher.looks} looks at {shares}")


def is_there_again(fleet: Fleet, watcher: Watcher) -> bool:
    """Whether all is as before once the control plane was killed, and another one is there."""
    before = fleet.history("walk")
    fleet.kill()
    watcher.wait_round()
    fleet.world.start()
    return fleet.history("walk") == before and is_whole(fleet, watcher)


def test_users_of_a_side_that_breaks_are_moved_back_within_three_seconds(tmp_path: Path) -> None:
    plans: dict[str, dict[str, Any]] = {
        "running": {"stages": ["10%", "100%"], "gates": {"latency": None}},
        "waiting": {
            "stages": [{"share": "10%", "manual": True}, "100%"],
            "gates": {"latency": None},
        },
    }
    with fleet_in(tmp_path / "shop", plans) as fleet:
        for name in plans:
            assert seconds_until_nobody_asks(fleet, name) <= 3.0


def seconds_until_nobody_asks(fleet: Fleet, name: str) -> float:
    """From the first request of *name* that fails to the last that goes to the side that does."""
    # All of them stay on their sides; fifty requests a second come of them.
    users = [Visitor(fleet, name, {"cookie": f"moreton_user=u{n}"}) for n in range(100)]
    fleet.order(name, "start")
    pace = Pace(users)
    with pace:
        wait_until(lambda: pace.rounds > 1, "all have asked")
        moved = [user for user in users if user.sides == ["new"]]
        assert moved
        fleet.new.behaviours[name] = fleet.new.fail
        began = len(fleet.new.asked_for(name))
        wait_until(lambda: fleet.shown(name)["phase"] == "rolled-back", "it is taken back")
        rounds = pace.rounds
        wait_until(lambda: pace.rounds > rounds + 1, "all have asked again")
    bad = fleet.new.asked_for(name)[began:]
    assert {user.sides[-1] for user in users} == {"old"}
    assert bad, "nobody saw it fail"
    shown = f"{name}: {len(moved)} users were moved back, {len(bad)} requests failed"
    print(f"{shown}, from the first to the last {bad[-1] - bad[0]:.2f} s")
    return bad[-1] - bad[0]


class Pace:
    """*users* ask in turn, fifty a second, while it is entered."""

    def __init__(self, users: list[Visitor]) -> None:
        self.rounds = 0
        self._users = users
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        join_all([self._thread])

    def _run(self) -> None:
        while True:
            for user in self._users:
                if self._ended.wait(0.02):
                    return
                user.ask()
            self.rounds += 1
