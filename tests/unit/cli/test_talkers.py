"""The live view says who asks most, how surely, and obeys no key."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from moreton.cli.looking.talkers import talkers_view, watch_talkers

NONE = {"allow": 0, "delay": 0, "reject": 0, "drop": 0}


def document(*talkers: dict[str, Any]) -> dict[str, Any]:
    acted = {"allow": 300, "delay": 30, "reject": 250, "drop": 20}
    rule = {
        "rule": "visitors",
        "decisions": {"enforce": acted, "shadow": NONE},
        "degraded": 7,
        "talkers": list(talkers),
    }
    return {"seconds": 60.0, "sources": 2, "rules": [rule]}


ADA = {"key": "203.0.113.9", "count": 540, "error": 60, "refused": 270, "per_second": 9.0}


def printed(found: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(talkers_view(found))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_rule_and_its_talkers_are_lines() -> None:
    lines = printed(document(ADA)).splitlines()
    assert lines[0] == "the last 60 s, told by 2 processes; ≤: at most, and no less than 1/s below"
    assert lines[2].split() == (
        ["visitors", "(7", "without", "its", "store)", "10", "4.5", "0.5", "0", "45%"]
    )
    assert lines[3].split() == ["203.0.113.9", "≤", "9", "4.5", "50%"]


def test_without_decisions_it_says_what_to_do() -> None:
    assert "report_limits()" in printed({"seconds": 1.0, "sources": 0, "rules": []})


def test_keys_are_shown_and_not_obeyed() -> None:
    told = printed(document({**ADA, "key": "[red]\x1b[2J"}, {**ADA, "key": ""}))
    assert "[red]�[2J" in told
    assert "(everyone)" in told


def test_it_goes_on_until_interrupted_and_prints_once_where_nobody_looks() -> None:
    asked: list[float] = []

    def sleep(seconds: float) -> None:
        asked.append(seconds)
        if len(asked) == 3:
            raise KeyboardInterrupt

    fetched = 0

    def fetch() -> dict[str, Any]:
        nonlocal fetched
        fetched += 1
        return document(ADA)

    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=30)
    watch_talkers(fetch, console, sleep=sleep)
    assert (asked, fetched) == ([2.0] * 3, 3)
    plain = Console(file=io.StringIO(), width=100)
    watch_talkers(fetch, plain, sleep=asked.append)
    assert len(asked) == 3
    assert fetched == 4
