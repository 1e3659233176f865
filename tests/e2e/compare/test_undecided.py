"""Whoever begins to compare is told why nothing is found yet, and what it takes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e.up.world import World, world_in
from support.waits import wait_until

pytestmark = pytest.mark.e2e
COMPARE = {"candidate": "b", "side_effects": "none", "share": "100%"}
WHY = re.compile(
    r"undecided: GET /page differs in \S.*asked twice (\d+) of 20 times: (\d+) requests? more"
)
ROUTE = {"path": "/*", "to": "a"}


def test_answers_that_all_differ_are_undecided_at_first_and_it_is_said_why(tmp_path: Path) -> None:
    with world_in(tmp_path / "shop") as world:
        sections = {"routes": {"everything": ROUTE}, "compare": {"everything": COMPARE}}
        world.write(world.configuration(**sections))
        world.start()

        def told() -> re.Match[str] | None:
            assert world.ask("/page")[0] == 200
            return WHY.search(said(world, "compare", "status"))

        found = wait_until(told, "it is told why")
        diffs = said(world, "migrate", "diffs")
    assert int(found[1]) + int(found[2]) == 20
    assert "no differences that surely count" in diffs
    assert WHY.search(diffs)


def said(world: World, *words: str) -> str:
    """What a command says, on one line."""
    return " ".join(world.run(*words).stdout.split())
