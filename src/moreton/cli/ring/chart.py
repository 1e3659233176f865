"""Message counts over the number of nodes, both axes logarithmic: in the terminal, and as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from xml.sax.saxutils import escape

from rich.text import Text

from moreton.cli.ring.measuring import Case, Point

Curves = Mapping[Case, Sequence[Point]]

_LINES = 24
# What stands left of the plotting area, and how wide that is: no wider than it reads well.
_LABEL_COLUMNS, _COLUMNS_MIN, _COLUMNS_MAX = 14, 40, 78
_MARKS = "ox+*#@"
_STYLES = ("red", "yellow", "green", "cyan", "magenta", "blue")
_COLOURS = ("#c0392b", "#b7950b", "#1e8449", "#148f9c", "#8e44ad", "#2471a3")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 460, 70, 210, 20, 50
_FONT = 'font-family="sans-serif" font-size="12" role="img"'
_DOTS = 120


def terminal_chart(curves: Curves, *, width: int = 92) -> Text:
    """Marks are measured; dots are the theory's curve. *width*: the terminal's columns."""
    columns = min(max(width - _LABEL_COLUMNS, _COLUMNS_MIN), _COLUMNS_MAX)
    scale = _Scale(curves)
    cells: dict[tuple[int, int], tuple[str, str]] = {}

    def put(nodes: float, value: float, mark: str, style: str) -> None:
        across, up = scale(nodes, value)
        cells[round((1 - up) * (_LINES - 1)), round(across * (columns - 1))] = (mark, style)

    for index, (case, points) in enumerate(curves.items()):
        for nodes in _steps(points):
            put(nodes, case.expected(nodes), "·", f"dim {_STYLES[index]}")
    for index, points in enumerate(curves.values()):
        for point in points:
            put(point.nodes, point.measured, _MARKS[index], f"bold {_STYLES[index]}")
    text = Text(no_wrap=True)
    for line in range(_LINES):
        label = scale.value_label(1 - line / (_LINES - 1)) if line % 4 == 0 else ""
        text.append(f"{label:>11} |")
        for column in range(columns):
            text.append(*cells.get((line, column), (" ", "")))
        text.append("\n")
    text.append(" " * 12 + "+" + "-" * columns + "\n")
    text.append(f"{'messages':>11}  {scale.nodes_min:<10,}{'nodes':^{columns - 20}}")
    text.append(f"{scale.nodes_max:>10,}\n")
    for index, case in enumerate(curves):
        text.append(f"  {_MARKS[index]} {case.name}", _STYLES[index])
        text.append("; dots: the upper bound\n" if case.is_bound else "; dots: theory\n")
    return text


def svg_chart(curves: Curves) -> str:
    """A drawing of its own: circles are measured, lines are the theory."""
    scale = _Scale(curves)

    def place(nodes: float, value: float) -> str:
        across, up = scale(nodes, value)
        x = _LEFT + across * (_WIDTH - _LEFT - _RIGHT)
        y = _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" {_FONT}>',
        "<title>Messages of an election by the number of nodes</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        *_grid(scale, place),
    ]
    for index, (case, points) in enumerate(curves.items()):
        colour = _COLOURS[index]
        line = " ".join(place(nodes, case.expected(nodes)) for nodes in _steps(points))
        dash = ' stroke-dasharray="5 4"' if case.is_bound else ""
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"{dash}/>')
        for point in points:
            x, y = place(point.nodes, point.measured).split(",")
            tip = f"{case.name}: n = {point.nodes:,}, {point.measured:,.1f} messages"
            parts.append(
                f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"><title>{escape(tip)}</title>'
                "</circle>"
            )
        left, top = _WIDTH - _RIGHT + 16, _TOP + 14 + 18 * index
        name = escape(case.name + (", bound dashed" if case.is_bound else ""))
        parts.append(f'<text x="{left}" y="{top}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _grid(scale: _Scale, place: Callable[[float, float], str]) -> list[str]:
    parts = []
    for power in range(math.ceil(scale.value_low), math.floor(scale.value_high) + 1):
        start, end = place(scale.nodes_min, 10**power), place(scale.nodes_max, 10**power)
        y = start.split(",")[1]
        parts.append(f'<polyline points="{start} {end}" stroke="#ddd"/>')
        label = f'<text x="{_LEFT - 6}" y="{y}" text-anchor="end" dominant-baseline="middle">'
        parts.append(f"{label}{10**power:,}</text>")
    nodes = scale.nodes_min
    while nodes <= scale.nodes_max:
        x = place(nodes, 10**scale.value_low).split(",")[0]
        label = f'<text x="{x}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">'
        parts.append(f"{label}{nodes:,}</text>")
        nodes *= 4
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">nodes</text>')
    parts.append(f'<text x="8" y="{_TOP}">messages</text>')
    return parts


class _Scale:
    """Places `(nodes, value)` in the unit square."""

    def __init__(self, curves: Curves) -> None:
        points = [point for each in curves.values() for point in each]
        values = [v for p in points for v in (p.measured, p.expected) if v > 0]
        self.nodes_min = min(point.nodes for point in points)
        self.nodes_max = max(point.nodes for point in points)
        self.value_low, self.value_high = math.log10(min(values)), math.log10(max(values))

    def __call__(self, nodes: float, value: float) -> tuple[float, float]:
        across = math.log(nodes / self.nodes_min) / (math.log(self.nodes_max / self.nodes_min) or 1)
        up = (math.log10(max(value, 1)) - self.value_low) / (self.value_high - self.value_low or 1)
        return across, min(max(up, 0.0), 1.0)

    def value_label(self, up: float) -> str:
        return f"{10 ** (self.value_low + up * (self.value_high - self.value_low)):,.0f}"


def _steps(points: Sequence[Point]) -> list[int]:
    """Whole numbers of nodes, evenly spread on a logarithmic axis, between the points'."""
    first, last = points[0].nodes, points[-1].nodes
    return sorted({round(first * (last / first) ** (k / _DOTS)) for k in range(_DOTS + 1)})
