from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from moreton.cli.client import ApiRefused, ApiUnreachable
from moreton.cli.leaving.asking import patiently
from moreton.cli.looking.events import _lines
from moreton.cli.looking.instances import _summary, ago
from moreton.cli.looking.services import counted, states
from moreton.cli.main import application

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def instance(name: str, state: str = "serving", **more: Any) -> dict[str, Any]:
    return {
        "service": "shop",
        "id": name,
        "address": "10.0.0.1",
        "port": 80,
        "zone": "",
        "weight": 1,
        "version": "",
        "tags": [],
        "metadata": {},
        "state": state,
        "source": "run",
        "reason": "",
        **more,
    }


def test_thousand_instances_end_in_a_sentence_that_says_how_to_see_fewer() -> None:
    there = [instance(str(n), "critical" if n % 10 == 0 else "serving") for n in range(1000)]
    assert list(_summary(there, 200)) == [
        "and 800 more; name a service, filter by --state, --zone, --source, or --limit",
        "1000 instances: 900 serving, 100 critical",
    ]
    assert list(_summary(there[:1], 200)) == []


def test_states_are_counted_in_the_order_in_which_people_want_to_know() -> None:
    there = [instance("a", "critical"), instance("b"), instance("c", "odd"), instance("d")]
    assert counted(states(there)) == "2 serving, 1 critical, 1 odd"


@pytest.mark.parametrize(
    ("age", "words"),
    [(0.2, "now"), (5, "5s ago"), (90, "2m ago"), (7200, "2h ago"), (200_000, "2d ago")],
)
def test_last_heartbeat_is_told_by_its_age(age: float, words: str) -> None:
    assert ago((NOW - timedelta(seconds=age)).isoformat(), NOW) == words
    assert ago(None, NOW) == ""


def test_watch_tells_what_changed_while_nobody_could() -> None:
    known: dict[tuple[str, str], dict[str, Any]] = {}
    first = {"instances": [instance("a"), instance("b")]}
    assert list(_lines("listed", first, known)) == ["2 instances of 1 services: 2 serving"]
    out = instance("a", "draining", reason="draining ordered by me")
    assert list(_lines("updated", {"instance": out}, known)) == [
        "shop a is draining: draining ordered by me"
    ]
    moved = {"instances": [out, instance("c", port=81)]}
    assert list(_lines("listed", moved, known)) == [
        "shop b is gone",
        "shop c is serving at 10.0.0.1:81, registered by run",
    ]
    assert list(_lines("updated", {"instance": {**out, "weight": 2}}, known)) == [
        "shop a has another weight"
    ]
    assert list(_lines("removed", {"service": "shop", "id": "c"}, known)) == ["shop c is gone"]
    assert list(_lines("later", {}, known)) == [], "an event of a later version"


def test_control_plane_that_is_away_is_asked_again_and_waited_for_once_in_words() -> None:
    said: list[str] = []
    answers: list[Any] = [
        ApiUnreachable(api="x", reason="refused"),
        ApiRefused(status=503, detail="no store"),
        7,
    ]

    def ask() -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    assert patiently(ask, said.append) == 7
    assert said == ["the control plane does not answer: waiting for it"]
    answers[:] = [ApiRefused(status=409, detail="no")]
    with pytest.raises(ApiRefused):
        patiently(ask, said.append)
    answers[:] = [ApiUnreachable(api="x", reason="refused")]
    with pytest.raises(ApiUnreachable):
        patiently(ask, said.append, 0.0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["instances", "--help"],
        ["instances", "list", "--help"],
        ["instances", "maintenance", "--help"],
        ["rollout", "restart", "--help"],
        ["rollout", "status", "--help"],
        ["rollout", "abandon", "--help"],
    ],
)
def test_every_word_of_a_group_has_help_with_an_example(arguments: list[str]) -> None:
    said = CliRunner().invoke(application(arguments), arguments)
    assert said.exit_code == 0
    assert "Examples" in said.output
