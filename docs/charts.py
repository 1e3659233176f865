"""Charts for these pages, drawn when they are built by the code that they speak of.

Plain SVG within the page, so that its text and its lines follow the page's colours.
"""

import math
from datetime import timedelta

from bench.lines import HEIGHT, WIDTH, line_chart
from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx.application import Sphinx

from moreton.sim.contention import compare
from moreton.sim.rollouts import Truth, World, endings
from moreton.strangler.rollout.core.plan import ErrorGate, Plan, Stage
from moreton.strangler.rollout.core.progress import Phase

__all__ = ["HEIGHT", "WIDTH"]  # of what is drawn
CLIENTS = range(10, 101, 10)
SEEDS = range(5)


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
        world = World(Truth(0.002, spread=0.0), candidate, every=10.0)
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
