"""Every stage of a migration behind a real Envoy: killed in it, failed in it, passed by proof."""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from e2e.migrations.fleet import Fleet, Visitor, fleet_in
from e2e.migrations.watching import Watcher
from moreton.cli.client import ApiRefused
from support.waits import SECONDS, wait_until

pytestmark = pytest.mark.e2e

BETA = "beta.shop.example"
FIRST = {
    "x-beta": "yes",
    "cookie": "moreton_user=first; beta=yes",
    "x-tenant": "big corp (1)",
    "host": BETA,
}
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
    "host": (
        {"stages": [{"users": {"hosts": [BETA]}}, "100%"]},
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
# Those with a story of their own; a plain list is of stages.
STORIES: Mapping[str, Mapping[str, Any]] = {
    "broken": {"stages": ["40%", "100%"]},
    "gone": {"stages": ["40%", "100%"], "to": "gone"},
    "hangs": {"stages": ["40%", "100%"], "answer_within": "50ms"},
    "streams": {"stages": [{"users": {"hosts": [BETA]}}, "100%"], "answer_within": "1s"},
    "slow": {
        "stages": ["40%", "100%"],
        "gates": {"errors": None, "latency": {"quantile": "80%"}},
        "confidence": "90%",
    },
    "twice": {"stages": ["40%", "100%"]},
    "lossy": {"stages": [{"share": "40%", "no_return": True}, "100%"]},
    "silent": {"stages": ["40%", "100%"], "hold": "0"},
    "same": {"stages": ["shadow", "40%", "100%"], "copies": "100%", "hold": "0"},
    "lies": {"stages": ["shadow", "40%", "100%"], "copies": "100%", "hold": "0"},
    "floods": {"stages": ["shadow", "40%", "100%"], "copies": "100%", "hold": "0"},
}
GO_FIRST = ("header", "cookie", "host", "tenant", "all", "soak", "done")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    plans = {name: plan for name, (plan, *_) in STAGES.items()}
    with fleet_in(tmp_path_factory.mktemp("moving") / "shop", {**plans, **STORIES}) as fleet:
        yield fleet


@pytest.mark.long
def test_every_stage_is_there_after_a_kill_and_nobody_changed_sides(fleet: Fleet) -> None:
    for name, (_, orders, phase, share) in STAGES.items():
        # A second try finds them where the first one brought them.
        for order in orders if fleet.shown(name)["phase"] == "planned" else ():
            fleet.order(name, order, force=order == "advance")
        found = fleet.shown(name)
        assert (found["phase"], found["share"]) == (phase, share)
    before = {name: fleet.history(name) for name in STAGES}
    visitors = [Visitor(fleet, name, who) for name in STAGES for who in (FIRST, *OTHERS)]
    with Watcher(fleet, visitors) as watcher:
        fleet.kill()
        watcher.wait_round()
        fleet.world.spawn()
        said = fleet.world.run("migrate", "status", "percent")  # as a script does, at once
        assert (said.returncode, said.stdout[:16]) == (0, "percent: running")
        fleet.world.wait_ready()
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
        if name in {"planned", "shadow", "header", "cookie", "host", "back"}:
            assert others == ["old"] * 3, name
    # The one that waited for somebody goes on where it was, by proof.
    assert fleet.order("waiting", "advance")["approved"]
    fleet.wait_phase("waiting", "done", *(v for v in visitors if v.route == "waiting"))
    shares = [entry["share"] for entry in fleet.history("waiting")]
    assert shares == [0.5, 0.5, 1.0, 1.0]


def users_of(fleet: Fleet, route: str, count: int = 10) -> list[Visitor]:
    """So many who come with a cookie that they got before."""
    return [Visitor(fleet, route, {"cookie": f"moreton_user=u{n}"}) for n in range(count)]


def test_users_of_a_broken_candidate_are_moved_back_and_it_is_not_asked_again(
    fleet: Fleet,
) -> None:
    users = users_of(fleet, "broken")
    fleet.new.behaviours["broken"] = fleet.new.fail
    fleet.order("broken", "start")
    found = fleet.wait_phase("broken", "rolled-back", *users)
    assert found["reason"].startswith("errors: ")
    assert any(user.sides[0] == "new" for user in users), "nobody saw it fail"
    wait_until(lambda: all_answered(users), "all are answered again")
    asked = len(fleet.new.asked_for("broken"))
    assert [user.ask() for user in users] == [200] * len(users)
    assert {user.sides[-1] for user in users} == {"old"}
    assert len(fleet.new.asked_for("broken")) == asked
    with pytest.raises(ApiRefused, match='migration "broken" is rolled-back: nothing was done'):
        fleet.order("broken", "rollback")
    again = fleet.order("broken", "resume")
    assert (again["phase"], again["stage"]["number"], again["tries"]) == ("running", 1, 2)


def all_answered(users: Sequence[Visitor]) -> bool:
    """Whether each gets an answer, and no error."""
    return [user.ask() for user in users] == [200] * len(users)


def test_candidate_that_is_down_is_taken_back(fleet: Fleet) -> None:
    users = users_of(fleet, "gone")
    fleet.order("gone", "start")
    assert fleet.wait_phase("gone", "rolled-back", *users)["reason"].startswith("errors: ")
    wait_until(lambda: all_answered(users), "all are answered again")


def test_candidate_that_hangs_is_taken_back_and_its_users_are_let_go(fleet: Fleet) -> None:
    users = users_of(fleet, "hangs")
    fleet.new.behaviours["hangs"] = fleet.new.hang
    fleet.order("hangs", "start")
    reason = fleet.wait_phase("hangs", "rolled-back", *users)["reason"]
    assert re.match(r"errors: 100.00% of \d+ failed \(\d+ for want of an answer, 504\)", reason)
    assert not fleet.new.let_go.is_set(), "it answered"
    wait_until(lambda: all_answered(users), "all are answered again")


@pytest.mark.long
def test_candidate_that_is_slow_is_taken_back_by_its_times(fleet: Fleet) -> None:
    users, pause = users_of(fleet, "slow"), threading.Event()
    fleet.new.behaviours["slow"] = fleet.new.dawdle
    fleet.order("slow", "start")

    def ended() -> dict[str, Any] | None:
        assert set(pool.map(Visitor.ask, users)) == {200}
        pause.wait(0.1)  # Envoy tells its times every five seconds
        found = fleet.shown("slow")
        return found if found["phase"] != "running" else None

    with ThreadPoolExecutor(len(users)) as pool:
        found = wait_until(ended, "it is taken back")
    assert (found["phase"], found["share"]) == ("rolled-back", 0.0)
    assert re.match(r"latency: (in the last seconds )?p80 is ", found["reason"])
    assert {"old", "new"} == {side for user in users for side in user.sides}


def test_second_migration_of_a_route_is_refused_until_the_first_is_over(fleet: Fleet) -> None:
    plans = fleet.sections["migrations"]
    fleet.order("twice", "start")
    both = {**plans, "again": plans["twice"]}
    fleet.world.write(fleet.world.configuration(**{**fleet.sections, "migrations": both}))
    refused = "migration 'twice' moves the route 'twice', as 'again' does"
    wait_until(lambda: refused in fleet.world.log(), "the edit is refused")
    fleet.edit({("again" if name == "twice" else name): it for name, it in plans.items()})
    with pytest.raises(ApiRefused, match=r'migration "again": .*"twice" moves route "twice" now'):
        fleet.order("again", "start")
    assert fleet.shown("twice")["share"] == 0.4
    fleet.order("twice", "rollback")
    assert fleet.order("again", "start")["share"] == 0.4
    fleet.order("again", "rollback")
    fleet.edit(plans)


def test_stream_may_last_longer_than_an_answer_may_be_waited_for(fleet: Fleet) -> None:
    side, world = fleet.new, fleet.world
    side.behaviours["streams"] = lambda to: (side.hang if "silent" in to.path else side.trickle)(to)
    fleet.order("streams", "start")

    def begun() -> tuple[http.client.HTTPConnection, http.client.HTTPResponse] | None:
        connection = http.client.HTTPConnection("127.0.0.1", world.port, timeout=SECONDS)
        connection.request("GET", "/streams/", headers={"host": BETA})
        answer = connection.getresponse()
        if answer.status == 200:
            return connection, answer
        connection.close()
        return None

    connection, answer = wait_until(begun, "it begins to answer in time")
    with contextlib.closing(connection):
        silent = Visitor(fleet, "streams/silent", {"host": BETA})
        assert silent.ask() == 504, "who asks later is not let go"
        side.let_go.set()
        assert answer.read() == b"{}"
    side.let_go.clear()


def test_past_the_point_of_no_return_users_stay_until_somebody_forces_it(fleet: Fleet) -> None:
    users = users_of(fleet, "lossy")
    fleet.new.behaviours["lossy"] = fleet.new.fail
    fleet.order("lossy", "start")
    assert fleet.wait_phase("lossy", "frozen", *users)["share"] == 0.4
    with pytest.raises(ApiRefused, match="past its point of no return"):
        fleet.order("lossy", "rollback")
    assert fleet.order("lossy", "rollback", force=True)["share"] == 0.0
    wait_until(lambda: all_answered(users), "all are answered again")


def test_without_requests_nothing_is_proven(fleet: Fleet) -> None:
    fleet.order("silent", "start")
    wait_until(lambda: fleet.shown("silent")["held"] > 1.0, "it was looked at")
    found = fleet.shown("silent")
    assert (found["phase"], found["share"]) == ("running", 0.4)
    assert [gate["outcome"] for gate in found["gates"]] == ["inconclusive"]
    assert found["waits_for"] == ["errors", "requests"]


def test_copies_that_match_let_it_go_on_and_others_take_it_back(fleet: Fleet) -> None:
    fleet.new.behaviours["lies"] = fleet.new.lie
    fleet.new.behaviours["floods"] = fleet.new.flood
    visitors = {name: Visitor(fleet, name, {}) for name in ("same", "lies", "floods")}
    for name in visitors:
        fleet.order(name, "start")
    for name in ("lies", "floods"):
        found = fleet.wait_phase(name, "rolled-back", *visitors.values())
        assert found["reason"].startswith("differences: 100.00% of ")
        assert visitors[name].sides == ["old"], "a copy was answered to its user"

    def entries() -> list[dict[str, Any]] | None:
        visitors["same"].ask()
        found = fleet.history("same")
        return found if len(found) > 1 else None

    entry = wait_until(entries, "it goes on")[1]
    assert (entry["what"], entry["share"]) == ("went on", 0.4)
    assert (entry["verdicts"][0]["gate"], entry["verdicts"][0]["outcome"]) == (
        "differences",
        "pass",
    )
