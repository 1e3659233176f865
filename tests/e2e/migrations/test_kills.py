"""Whatever a migration does when the control plane is killed: it is there afterwards as before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from e2e.migrations.fleet import Fleet, Visitor, fleet_in
from e2e.migrations.watching import Watcher

pytestmark = pytest.mark.e2e

FIRST = {"x-beta": "yes", "cookie": "moreton_user=first; beta=yes", "x-tenant": "big corp (1)"}
OTHERS = [{"cookie": f"moreton_user=u{n}", "x-tenant": f"t{n}"} for n in range(3)]
# By route: how it is to move, the orders that bring it where it is killed, and what it is then.
STAGES: Mapping[str, tuple[Mapping[str, Any], tuple[str, ...], str, float]] = {
    "planned": ({"stages": ["10%", "100%"]}, (), "planned", 0.0),
    "shadow": ({"stages": ["shadow", "100%"]}, ("start",), "running", 0.0),
    "header": (
        {"stages": [{"users": {"header": "x-beta", "is": "yes"}}, "100%"]},
        ("start",),
        "running",
        0.0,
    ),
    "cookie": (
        {"stages": [{"users": {"cookie": "beta", "is": "yes"}}, "100%"]},
        ("start",),
        "running",
        0.0,
    ),
    "tenant": (
        {
            "sticky": {"header": "x-tenant"},
            "stages": [
                {"users": {"header": "x-tenant", "is": ["acme", "big corp (1)"]}, "share": "30%"},
                "100%",
            ],
        },
        ("start",),
        "running",
        0.3,
    ),
    "percent": ({"stages": ["2.5%", "25%", "100%"]}, ("start", "advance"), "running", 0.25),
    "waiting": (
        {"stages": [{"share": "50%", "manual": True}, "100%"], "hold": "0"},
        ("start",),
        "running",
        0.5,
    ),
    "paused": ({"stages": ["25%", "100%"]}, ("start", "pause"), "paused", 0.25),
    "frozen": ({"stages": ["25%", "100%"]}, ("start", "freeze"), "frozen", 0.25),
    "kept": (
        {"stages": [{"share": "40%", "no_return": True}, "100%"]},
        ("start", "freeze"),
        "frozen",
        0.4,
    ),
    "back": ({"stages": ["50%", "100%"]}, ("start", "rollback"), "rolled-back", 0.0),
    "all": ({"stages": ["10%", "100%"], "soak": "1h"}, ("start", "advance"), "running", 1.0),
    "soak": (
        {"stages": ["10%", "100%"], "soak": "1h"},
        ("start", "advance", "advance"),
        "running",
        1.0,
    ),
    "done": ({"stages": ["10%", "100%"]}, ("start", "advance", "advance"), "done", 1.0),
}
GO_FIRST = ("header", "cookie", "tenant", "all", "soak", "done")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    plans = {name: plan for name, (plan, *_) in STAGES.items()}
    with fleet_in(tmp_path_factory.mktemp("moving") / "shop", plans) as fleet:
        yield fleet


def test_every_stage_is_there_after_a_kill_and_nobody_changed_sides(fleet: Fleet) -> None:
    for name, (_, orders, phase, share) in STAGES.items():
        for order in orders:
            fleet.order(name, order, force=order == "advance")
        found = fleet.shown(name)
        assert (found["phase"], found["share"]) == (phase, share)
    before = {name: fleet.history(name) for name in STAGES}
    visitors = [Visitor(fleet, name, who) for name in STAGES for who in (FIRST, *OTHERS)]
    with Watcher(fleet, visitors) as watcher:
        fleet.kill()
        watcher.wait_round()
        fleet.world.start()
        watcher.wait_round()
        for name, (_, _, phase, share) in STAGES.items():
            found = fleet.shown(name)
            assert (name, found["phase"], found["share"]) == (name, phase, share)
            assert fleet.history(name) == before[name]
            # The one share that Envoy ever had, whoever lived meanwhile.
            assert [seen for _, seen in watcher.shares[name]] == [share], name
    assert watcher.failures == []
    assert [(v.route, v.sides) for v in visitors if len(v.sides) != 1] == []
    for name in STAGES:
        first, *others = (each.sides[0] for each in visitors if each.route == name)
        assert first == ("new" if name in GO_FIRST else first), name
        if name in {"planned", "shadow", "header", "cookie", "back"}:
            assert others == ["old"] * 3, name
    # The one that waited for somebody goes on where it was, by proof.
    assert fleet.order("waiting", "advance")["approved"]
    fleet.wait_phase("waiting", "done", *(v for v in visitors if v.route == "waiting"))
    shares = [entry["share"] for entry in fleet.history("waiting")]
    assert shares == [0.5, 0.5, 1.0, 1.0]
