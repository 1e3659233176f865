"""Who asks most of the limits, as a table that goes on: the view of `moreton limits top`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from moreton.ratelimit.seeing.core.report import shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

# As often as services tell.
EVERY_SECONDS = 2.0
_EMPTY = (
    "no limit decided anything within the last minute, or no service tells of it: call "
    "moreton.ratelimit.seeing.reporter.report_limits() in it"
)


def watch_talkers(
    fetch: Callable[[], Mapping[str, Any]],
    console: Console,
    *,
    every: float = EVERY_SECONDS,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Show what *fetch* gets from `/v1/limits/top`, again and again until interrupted.

    Where *console* is no terminal: once.
    """
    if not console.is_terminal:
        console.print(talkers_view(fetch()))
        return
    from rich.live import Live  # noqa: PLC0415 - only where somebody looks

    with Live(talkers_view(fetch()), console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                sleep(every)
                live.update(talkers_view(fetch()), refresh=True)
        except KeyboardInterrupt:
            return


def talkers_view(document: Mapping[str, Any]) -> RenderableType:
    """The document of `/v1/limits/top` for people: for each rule one line, and its talkers."""
    from rich.console import Group  # noqa: PLC0415 - `--json` need not load it
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    if not document["rules"]:
        return Text(_EMPTY)
    seconds = document["seconds"]
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("rule / who asks", overflow="fold")
    for heading in ("asks/s", "refused/s", "delayed/s", "in shadow/s", "refused"):
        table.add_column(heading, justify="right")
    for rule in document["rules"]:
        table.add_row(*(Text(cell, style="bold") for cell in _rule_row(rule, seconds)))
        for row, style in _talker_rows(rule, seconds):
            table.add_row(*(Text(cell, style=style) for cell in row))
    who = f"{document['sources']} process{'es' * (document['sources'] != 1)}"
    title = f"the last {seconds:.0f} s, told by {who}{_bound(document)}"
    return Group(Text(title, style="dim"), table)


def _rule_row(rule: Mapping[str, Any], seconds: float) -> list[str]:
    acted, shadow = rule["decisions"]["enforce"], rule["decisions"]["shadow"]
    refused = acted["reject"] + acted["drop"]
    would = shadow["reject"] + shadow["drop"]
    asked = sum(acted.values()) + sum(shadow.values())
    name = shown(rule["rule"])
    if rule["degraded"]:
        name += f" ({rule['degraded']} without its store)"
    return [
        name,
        _rate(asked, seconds),
        _rate(refused, seconds),
        _rate(acted["delay"], seconds),
        _rate(would, seconds),
        f"{(refused + would) / asked:.0%}" if asked else "",
    ]


def _talker_rows(rule: Mapping[str, Any], seconds: float) -> Iterator[tuple[list[str], str]]:
    for one in rule["talkers"]:
        share = one["refused"] / one["count"] if one["count"] else 0.0
        bound = "≤ " if one["error"] else ""
        row = [
            f"  {shown(one['key']) or '(everyone)'}",
            bound + _rate(one["count"], seconds),
            _rate(one["refused"], seconds),
            "",
            "",
            f"{share:.0%}",
        ]
        yield row, "red" if one["refused"] else ""


def _bound(document: Mapping[str, Any]) -> str:
    """By how much a rate may be told too high, at most; nothing where all are exact."""
    most = max((one["error"] for rule in document["rules"] for one in rule["talkers"]), default=0)
    return (
        f"; ≤: at most, and no less than {_rate(most, document['seconds'])}/s below" if most else ""
    )


def _rate(count: int, seconds: float) -> str:
    rate = count / seconds
    return f"{rate:,.0f}" if rate >= 10 or not count else f"{rate:.2g}"
