"""Charts for these pages, drawn when they are built by the code that they speak of.

Plain SVG within the page, so that its text and its lines follow the page's colours.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from moreton.sim.contention import compare
from moreton.sim.rollouts import Truth, World, endings
from moreton.strangler.rollout.core.plan import ErrorGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Phase

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 168, 14, 40
COLOURS = ("#888888", "#c0392b", "#d68910", "#1e8449", "#2471a3")
CLIENTS = range(10, 101, 10)
SEEDS = range(5)


def line_chart(
    x: Sequence[float],
    lines: Mapping[str, Sequence[float]],
    *,
    title: str,
    labels: tuple[str, str],
    ticks: Sequence[float],
    scale: Callable[[float], float],
) -> str:
    """*lines* over *x*, each labelled at its end; *scale* makes the vertical axis of *ticks*."""
    low, high = scale(ticks[0]), scale(ticks[-1])
    across = (WIDTH - LEFT - RIGHT) / (x[-1] - x[0])
    down = (HEIGHT - TOP - BOTTOM) / (high - low)

    def place(number: float, value: float) -> tuple[float, float]:
        return LEFT + (number - x[0]) * across, TOP + (high - scale(value)) * down

    drawn = [_grid(tick, place(x[0], tick)[1]) for tick in ticks]
    drawn += [
        _text(place(n, ticks[0])[0], HEIGHT - 22, f"{n:g}", "middle")
        for n in x
        if n % (x[-1] / 5 if x[-1] > 5 else 1) == 0
    ]
    drawn.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 4, labels[0], "middle"))
    drawn.append(
        f'<text transform="translate(14 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{labels[1]}</text>"
    )
    ends = _spread([place(x[-1], line[-1])[1] for line in lines.values()])
    for (name, line), colour, end in zip(lines.items(), COLOURS, ends, strict=False):
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
            title=f"{field} for {CLIENTS[0]} to {CLIENTS[-1]} clients, by kind of back-off",
            labels=("contending clients", field),
            ticks=ticks,
            scale=scale,
        )
        for field, ticks, scale in (
            ("calls", (0, 500, 1000, 1500, 2000, 2500), float),
            ("seconds", (0.1, 1, 10, 100), math.log10),
        )
    ]


class ContentionCharts(Directive):
    """`{contention-charts}`: what `moreton.sim.contention` finds, drawn now."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", chart, format="html") for chart in contention_charts()]


MORE_ERRORS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0)  # per cent
ROLLOUTS = 20


def rollout_charts() -> list[str]:
    """What becomes of candidates that fail more often, where 1 % more is tolerated."""
    stages = tuple(Stage(f"{share:.0%}", share, timedelta(0)) for share in (0.1, 0.5, 1.0))
    plan = Plan("m", "route", "old", "new", stages, (ErrorGate(),))
    promoted, taken_back, minutes = [], [], []
    for more in MORE_ERRORS:
        candidate = Truth(0.002 + more / 100, spread=0.0)
        world = World(Truth(0.002, spread=0.0), candidate, every=5.0)
        found = endings(plan, world, ROLLOUTS)
        phases = [each.phase for each in found]
        promoted.append(100 * phases.count(Phase.DONE) / ROLLOUTS)
        taken_back.append(100 * phases.count(Phase.ROLLED_BACK) / ROLLOUTS)
        minutes.append(sorted(each.seconds for each in found)[ROLLOUTS // 2] / 60)
    across = "failures more than the old service's, %"
    return [
        line_chart(
            MORE_ERRORS,
            {"promoted": promoted, "taken back": taken_back},
            title="candidates promoted and taken back, by how much more often they fail",
            labels=(across, "% of migrations"),
            ticks=(0, 25, 50, 75, 100),
            scale=float,
        ),
        line_chart(
            MORE_ERRORS,
            {"until it is decided": minutes},
            title="minutes until it was decided, by how much more often the candidate fails",
            labels=(across, "minutes, at most 120"),
            ticks=(0.3, 1, 10, 120),
            scale=math.log10,
        ),
    ]


class RolloutCharts(Directive):
    """`{rollout-charts}`: what `moreton.sim.rollouts` finds, drawn now."""

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", chart, format="html") for chart in rollout_charts()]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("contention-charts", ContentionCharts)
    app.add_directive("rollout-charts", RolloutCharts)
    return {"parallel_read_safe": True}
