"""A ring as text: nodes on an ellipse, clockwise from the top, and what is under way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

DRAWN_NODES_MAX = 40
_OUTLINE_DOTS = 90
# What the legend and the sentences below a picture take of a terminal's lines.
_LINES_BELOW = 8

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


@dataclass(frozen=True, slots=True)
class Size:
    """How large a picture may be, in characters."""

    columns: int = 72
    lines: int = 20

    @classmethod
    def of(cls, columns: int, lines: int) -> Size:
        """As large as a terminal of *columns* and *lines* lets it be, and no larger than usual."""
        return cls(min(columns - 1, cls().columns), min(lines - _LINES_BELOW, cls().lines))


# Smaller, and the nodes of a small ring hide each other.
_LEAST = Size(36, 8)


def draw_ring(
    spots: Sequence[Spot],
    flying: Iterable[Flying] = (),
    *,
    inside: Sequence[str] = (),
    size: Size | None = None,
) -> Text:
    """The ring with the lines of *inside* in its middle; a list of counts where it has no room."""
    size = size or Size()
    if len(spots) > DRAWN_NODES_MAX:
        return _summary(spots, inside, "the ring is too large to draw")
    if size.columns < _LEAST.columns or size.lines < _LEAST.lines:
        return _summary(spots, inside, "the terminal is too small to draw it")
    canvas = _Canvas(size)
    place = _Ellipse(size, len(spots))
    for step in range(_OUTLINE_DOTS):
        canvas.write(*place.at(step * len(spots) / _OUTLINE_DOTS), "·", "dim")
    for hop in flying:
        canvas.write(*place.between(hop), f"({hop.label})", "magenta")
    for position, spot in enumerate(spots):
        mark = "x" if spot.state == "dead" else spot.label
        canvas.write(*place.at(position), f"[{mark}]", STYLES[spot.state])
    for number, sentence in enumerate(inside):
        line = size.lines / 2 - len(inside) / 2 + number
        canvas.write(size.columns / 2, line, sentence, "")
    return canvas.text()


def legend() -> Text:
    """What the colours say."""
    text = Text()
    for state, style in STYLES.items():
        text.append(f" {state} ", style)
        text.append(" ")
    return text.append("(n) a message", "magenta")


class _Canvas:
    def __init__(self, size: Size) -> None:
        self._size = size
        self._cells: dict[tuple[int, int], tuple[str, str]] = {}

    def write(self, column: float, line: float, text: str, style: str) -> None:
        start = round(column - len(text) / 2)
        for offset, character in enumerate(text):
            self._cells[round(line), start + offset] = (character, style)

    def text(self) -> Text:
        drawn = Text(no_wrap=True)
        for line in range(self._size.lines + 1):
            for column in range(self._size.columns + 1):
                character, style = self._cells.get((line, column), (" ", ""))
                drawn.append(character, style)
            drawn.append("\n")
        return drawn


class _Ellipse:
    """Where *count* nodes stand, clockwise from the top, as column and line."""

    def __init__(self, size: Size, count: int) -> None:
        self._middle = (size.columns / 2, size.lines / 2)
        self._count = count

    def at(self, position: float) -> tuple[float, float]:
        angle = 2 * math.pi * position / self._count - math.pi / 2
        column, line = self._middle
        return column + (column - 4) * math.cos(angle), line + (line - 1) * math.sin(angle)

    def between(self, hop: Flying) -> tuple[float, float]:
        distance = (hop.target - hop.source) % self._count
        if distance == 1:
            return self.at(hop.source + 0.5)
        if distance == self._count - 1:
            return self.at(hop.target + 0.5)
        (c1, l1), (c2, l2) = self.at(hop.source), self.at(hop.target)
        return (c1 + 2 * c2) / 3, (l1 + 2 * l2) / 3


def _summary(spots: Sequence[Spot], inside: Sequence[str], why: str) -> Text:
    text = Text(f"a ring of {len(spots)} nodes; {why}\n")
    for state, style in STYLES.items():
        count = sum(spot.state == state for spot in spots)
        if count:
            text.append(f"{count:>8} {state}\n", style)
    return text.append("\n".join(inside) + "\n")
