"""Charts for these pages, drawn when they are built by the code that they speak of.

Plain SVG within the page, so that its text and its lines follow the page's colours.
"""

import itertools
import math
from collections.abc import Mapping, Sequence

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from moreton.sim.contention import compare

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 168, 14, 40
COLOURS = ("#888888", "#c0392b", "#d68910", "#1e8449", "#2471a3")
CLIENTS = (1, *range(10, 101, 10))
SEEDS = range(5)


def line_chart(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    title: str,
    x_label: str,
    y_label: str,
) -> str:
    """*lines* over *x*, the vertical axis logarithmic, each line labelled at its end."""
    largest = max(max(line) for line in lines.values())
    smallest = min(min(line) for line in lines.values())
    low, high = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
    across = (WIDTH - LEFT - RIGHT) / (max(x) - min(x))
    down = (HEIGHT - TOP - BOTTOM) / (high - low)

    def place(number: float, value: float) -> tuple[float, float]:
        return LEFT + (number - min(x)) * across, TOP + (high - math.log10(value)) * down

    drawn = [_grid(10.0**power, place(min(x), 10.0**power)[1]) for power in range(low, high + 1)]
    drawn += [_text(place(n, 1)[0], HEIGHT - 22, f"{n:g}", "middle") for n in x if n % 20 == 0]
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, x_label, "middle"))
    drawn.append(
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{y_label}</text>"
    )
    ends = _spread([place(x[-1], line[-1])[1] for line in lines.values()])
    for (name, line), colour, end in zip(lines.items(), COLOURS, ends, strict=True):
        points = " ".join(
            "{:.1f},{:.1f}".format(*place(n, v)) for n, v in zip(x, line, strict=True)
        )
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" />')
        drawn.append(_text(WIDTH - RIGHT + 8, end + 4, name, "start", colour))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{title}" style="max-width: {WIDTH}px; width: 100%" font-size="12" '
        f'fill="currentColor" stroke-width="2"><title>{title}</title>{"".join(drawn)}</svg>'
    )


def _grid(value: float, y: float) -> str:
    line = f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'{line} stroke="currentColor" opacity="0.2" stroke-width="1" />' + _text(
        LEFT - 6, y + 4, f"{value:g}", "end"
    )


def _text(x: float, y: float, text: str, anchor: str, colour: str = "currentColor") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{text}</text>'


def _spread(heights: Sequence[float], apart: float = 15) -> list[float]:
    """*heights* of labels, moved down so that no two overlap."""
    moved = list(heights)
    order = sorted(range(len(moved)), key=moved.__getitem__)
    for above, below in itertools.pairwise(order):
        moved[below] = max(moved[below], moved[above] + apart)
    return moved


def contention_charts() -> list[str]:
    """Calls, and seconds, until so many contending clients have all succeeded."""
    results = compare(CLIENTS, seeds=SEEDS)
    return [
        line_chart(
            CLIENTS,
            {name: [getattr(one, field) for one in line] for name, line in results.items()},
            title=f"{label} for 1 to {CLIENTS[-1]} clients, by kind of back-off",
            x_label="contending clients",
            y_label=label,
        )
        for field, label in (("calls", "calls"), ("seconds", "seconds"))
    ]


class ContentionCharts(Directive):
    """`{contention-charts}`: what `moreton.sim.contention` finds, drawn now."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", chart, format="html") for chart in contention_charts()]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("contention-charts", ContentionCharts)
    return {"parallel_read_safe": True}
