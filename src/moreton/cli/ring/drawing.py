"""A ring as text: nodes on an ellipse, clockwise from the top, and what is under way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

DRAWN_NODES_MAX = 40
_COLUMNS, _LINES = 72, 20
_OUTLINE_DOTS = 90

STYLES = {
    "asleep": "dim",
    "candidate": "yellow",
    "relay": "cyan",
    "leader": "bold reverse green",
    "follower": "blue",
    "undecided": "yellow",
    "dead": "red strike",
}


@dataclass(frozen=True, slots=True)
class Spot:
    """One node: its UID and what it is, a key of `STYLES`."""

    label: str
    state: str


@dataclass(frozen=True, slots=True)
class Flying:
    """A message between two positions."""

    source: int
    target: int
    label: str


def draw_ring(
    spots: Sequence[Spot], flying: Iterable[Flying] = (), *, inside: Sequence[str] = ()
) -> Text:
    """The ring with the lines of *inside* in its middle; a list of counts when it is too large."""
    if len(spots) > DRAWN_NODES_MAX:
        return _summary(spots, inside)
    canvas = _Canvas()
    for step in range(_OUTLINE_DOTS):
        canvas.write(*_place(step * len(spots) / _OUTLINE_DOTS, len(spots)), "·", "dim")
    for hop in flying:
        canvas.write(*_between(hop, len(spots)), f"({hop.label})", "magenta")
    for position, spot in enumerate(spots):
        column, line = _place(position, len(spots))
        mark = "x" if spot.state == "dead" else spot.label
        canvas.write(column, line, f"[{mark}]", STYLES[spot.state])
    for number, sentence in enumerate(inside):
        canvas.write(_COLUMNS / 2, _LINES / 2 - len(inside) / 2 + number, sentence, "")
    return canvas.text()


def legend() -> Text:
    """What the colours say."""
    text = Text()
    for state, style in STYLES.items():
        text.append(f" {state} ", style)
        text.append(" ")
    return text.append("(n) a message", "magenta")


class _Canvas:
    def __init__(self) -> None:
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}

    def write(self, column: float, line: float, text: str, style: str) -> None:
        start = round(column - len(text) / 2)
        for offset, character in enumerate(text):
            self._cells[round(line), start + offset] = (character, style)

    def text(self) -> Text:
        drawn = Text(no_wrap=True)
        for line in range(_LINES + 1):
            for column in range(_COLUMNS + 1):
                character, style = self._cells.get((line, column), (" ", ""))
                drawn.append(character, style)
            drawn.append("\n")
        return drawn


def _place(position: float, count: int) -> tuple[float, float]:
    angle = 2 * math.pi * position / count - math.pi / 2
    column = _COLUMNS / 2 + (_COLUMNS / 2 - 4) * math.cos(angle)
    return column, _LINES / 2 + (_LINES / 2 - 1) * math.sin(angle)


def _between(hop: Flying, count: int) -> tuple[float, float]:
    distance = (hop.target - hop.source) % count
    if distance == 1:
        return _place(hop.source + 0.5, count)
    if distance == count - 1:
        return _place(hop.target + 0.5, count)
    (c1, l1), (c2, l2) = _place(hop.source, count), _place(hop.target, count)
    return (c1 + 2 * c2) / 3, (l1 + 2 * l2) / 3


def _summary(spots: Sequence[Spot], inside: Sequence[str]) -> Text:
    text = Text(f"a ring of {len(spots)} nodes, too large to draw\n")
    for state, style in STYLES.items():
        count = sum(spot.state == state for spot in spots)
        if count:
            text.append(f"{count:>8} {state}\n", style)
    return text.append("\n".join(inside))
