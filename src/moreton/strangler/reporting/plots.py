"""A migration as a picture: share, failures, times and differences over time, in plain SVG.

It takes its colours from the page's, or brings its own, for light and for dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape

from moreton.strangler.reporting.story import QUANTILES, Report
from moreton.strangler.reporting.timeline import Timeline
from moreton.strangler.reporting.words import headline
from moreton.strangler.rollout.core.quantiles import Spread
from moreton.strangler.rollout.core.samples import Sample
from moreton.strangler.rollout.core.sides import Side

WIDE, NARROW = 860, 380
COLOURS = """
:root{--ink:#1c2330;--faint:#667085;--line:#d5dae3;--paper:#ffffff;--band:#f1f4f9;
--old:#64748b;--new:#1d6fd1;--bad:#c62828;--good:#1b7f4d;--wait:#9a6700}
@media (prefers-color-scheme:dark){:root{--ink:#e6e9ef;--faint:#98a2b3;--line:#343c4b;
--paper:#12161d;--band:#1b212b;--old:#a3b0c2;--new:#6cb2ff;--bad:#ff7b72;--good:#5bd08d;
--wait:#e3b341}}
"""
DRAWN = """
svg text{font:12px system-ui,sans-serif;fill:var(--faint)}
svg .title{font-weight:600;fill:var(--ink)}
svg .grid{stroke:var(--line);stroke-width:1}
svg .band{fill:var(--band)}
svg .gap{stroke:var(--faint);stroke-width:1;stroke-dasharray:1 3}
svg .old,svg .new,svg .bad{fill:none;stroke-width:2;stroke-linejoin:round}
svg .old{stroke:var(--old)} svg .new{stroke:var(--new)} svg .bad{stroke:var(--bad)}
svg .area{fill:var(--new);opacity:.16}
svg .q0{stroke-width:1.2} svg .q2{stroke-dasharray:2 3}
svg circle.old{fill:var(--old);stroke:none} svg circle.new{fill:var(--new);stroke:none}
svg circle.bad{fill:var(--bad);stroke:none}
svg text.old{fill:var(--old);stroke:none} svg text.new{fill:var(--new);stroke:none}
svg text.bad{fill:var(--bad);stroke:none}
svg .mark{stroke:var(--bad);stroke-width:1.2;stroke-dasharray:4 3}
svg .flag{fill:var(--bad)} svg .number{fill:var(--paper);font-weight:700;font-size:11px}
"""
_LEFT, _RIGHT, _TOP, _HEIGHT, _BETWEEN = 52, 12, 66, 104, 40
# Above the panels: the stages' names, then the incidents' flags.
_NAMES, _FLAGS = 14, 32
_COLUMN_PIXELS = 5.0
# Envoy tells its times every five seconds.
_TIMES_SECONDS = 5.0
_CHAR_PIXELS = 6.6

Values = Callable[[Sample], float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """What is drawn of each column, how, and what it is called."""

    name: str
    style: str
    value: Values
    is_step: bool = False
    is_named: bool = True


@dataclass(frozen=True, slots=True)
class Panel:
    """Lines over time, under a *title*; *ticks* are the values of the vertical axis."""

    title: str
    lines: Sequence[Line]
    ticks: Sequence[float]
    write: Callable[[float], str]
    is_logarithmic: bool = False
    seconds: float = 0.0

    def height_of(self, value: float) -> float:
        """How high *value* is, from 0 at the bottom to 1 at the top."""
        scale: Callable[[float], float] = math.log if self.is_logarithmic else float
        low, high = scale(self.ticks[0]), scale(self.ticks[-1])
        part = (scale(max(value, self.ticks[0])) - low) / ((high - low) or 1.0)
        return min(1.0, max(0.0, part))


def as_picture(report: Report) -> str:
    """The report's picture alone, with the colours that it needs."""
    return picture(report, stands_alone=True)


def picture(report: Report, width: int = WIDE, *, stands_alone: bool = False) -> str:
    """The picture, so many pixels wide; empty when there is nothing to draw."""
    if not report.samples:
        return ""
    time = Timeline(report.samples, _LEFT, width - _RIGHT)
    panels = list(_panels(report, time))
    bottom = _TOP + len(panels) * (_HEIGHT + _BETWEEN)
    drawn = [*_bands(report, time, bottom - _BETWEEN), *_gaps(time, bottom - _BETWEEN)]
    for number, panel in enumerate(panels):
        drawn += _drawn(panel, time, _TOP + number * (_HEIGHT + _BETWEEN), width)
    drawn += _ticks(time, bottom - _BETWEEN)
    drawn += _marks(report, time, bottom - _BETWEEN)
    style = f"<style>{COLOURS}{DRAWN}</style>" if stands_alone else ""
    paper = '<rect width="100%" height="100%" fill="var(--paper)"/>' if stands_alone else ""
    label = escape(f"{report.plan.name} over time. {headline(report)}", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom}" '
        f'role="img" aria-label="{label}">{style}{paper}{"".join(drawn)}</svg>'
    )


def _panels(report: Report, time: Timeline) -> Iterator[Panel]:
    old, new = report.plan.baseline, report.plan.candidate
    yield Panel(
        f"share of requests that {new} answers",
        [
            Line("allowed by the stage", "area", lambda each: each.share, is_step=True),
            Line("answered", "new", _answered),
        ],
        (0.0, 0.25, 0.5, 0.75, 1.0),
        lambda value: f"{value:.0%}",
    )
    errors = [Line(old, "old", _errors("baseline")), Line(new, "new", _errors("candidate"))]
    yield Panel("failures", errors, _share_ticks(time, errors), _share)
    times = list(_time_lines(old, new))
    ticks = _time_ticks(time, times)
    if ticks:
        title = "times in ms: thin p50, thick p95, dotted p99"
        yield Panel(
            title,
            times,
            ticks,
            lambda value: f"{value:g}",
            is_logarithmic=True,
            seconds=_TIMES_SECONDS,
        )
    if any(each.compared for each in report.samples):
        differing = [Line(f"of {new}'s answers differ", "bad", _different)]
        yield Panel("differences", differing, _share_ticks(time, differing), _share)


def _time_lines(old: str, new: str) -> Iterator[Line]:
    for side, name, style in (("baseline", old, "old"), ("candidate", new, "new")):
        for number, share in enumerate(QUANTILES):
            yield Line(name, f"{style} q{number}", _time(side, share), is_named=number == 1)


def _answered(sample: Sample) -> float | None:
    both = sample.baseline.requests + sample.candidate.requests
    return sample.candidate.requests / both if both else None


def _errors(side: str) -> Values:
    def value(sample: Sample) -> float | None:
        found: Side = getattr(sample, side)
        return found.errors / found.requests if found.requests else None

    return value


def _time(side: str, share: float) -> Values:
    def value(sample: Sample) -> float | None:
        spread = Spread(getattr(sample, side).times)
        return spread.quantile(share) if spread.total else None

    return value


def _different(sample: Sample) -> float | None:
    return sample.different / sample.compared if sample.compared else None


def _values(time: Timeline, lines: Sequence[Line], seconds: float = 0.0) -> list[float]:
    columns = [each for run in time.columns(pixels=_COLUMN_PIXELS, seconds=seconds) for each in run]
    found = [line.value(each) for line in lines for each in columns]
    return [each for each in found if each is not None]


def _share_ticks(time: Timeline, lines: Sequence[Line]) -> Sequence[float]:
    most = max(_values(time, lines), default=0.0)
    top = next(each for each in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if each >= min(most, 1.0))
    return (0.0, top / 2, top)


def _time_ticks(time: Timeline, lines: Sequence[Line]) -> Sequence[float]:
    values = [each for each in _values(time, lines, _TIMES_SECONDS) if each > 0]
    if not values:
        return ()
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = [10.0**power * step for power in range(low, max(high, low + 1)) for step in (1, 2, 5)]
    steps.append(10.0 ** max(high, low + 1))
    first = max(index for index, step in enumerate(steps) if step <= min(values) or index == 0)
    last = next(index for index, step in enumerate(steps) if step >= max(values))
    return steps[first : max(last, first + 1) + 1]


def _share(value: float) -> str:
    return f"{value * 100:g}%"


def _drawn(panel: Panel, time: Timeline, top: float, width: int) -> Iterator[str]:
    bottom = top + _HEIGHT
    yield f'<text class="title" x="{_LEFT}" y="{top - 8}">{escape(panel.title)}</text>'
    yield from _names(panel, top - 8, width)
    for tick in panel.ticks:
        y = bottom - _HEIGHT * panel.height_of(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{panel.write(tick)}</text>'
    for line in panel.lines:
        for columns in time.columns(pixels=_COLUMN_PIXELS, seconds=panel.seconds):
            yield from _traced(panel, line, time, columns, bottom)


def _names(panel: Panel, y: float, width: int) -> Iterator[str]:
    """What is what, from the right; left out where there is no room beside the title."""
    x = float(width - _RIGHT)
    free = _LEFT + len(panel.title) * (_CHAR_PIXELS + 0.6) + 12
    for line in reversed(panel.lines):
        if not line.is_named:
            continue
        style = "new" if line.style == "area" else line.style.split()[0]
        name = f"▪ {line.name}" if line.style != "area" else f"░ {line.name}"
        wide = len(name) * _CHAR_PIXELS + 14
        if x - wide < free:
            return
        yield f'<text class="{style}" x="{x:.0f}" y="{y}" text-anchor="end">{escape(name)}</text>'
        x -= wide


def _traced(
    panel: Panel, line: Line, time: Timeline, columns: Sequence[Sample], bottom: float
) -> Iterator[str]:
    points: list[tuple[float, float]] = []
    for each in columns:
        value = line.value(each)
        if value is None:
            continue
        y = bottom - _HEIGHT * panel.height_of(value)
        if line.is_step:
            points += [(time.place(each.since), y), (time.place(each.until), y)]
        else:
            points.append((time.place(each.since + each.seconds / 2), y))
    if not points:
        return
    drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    if line.is_step:
        ends = f"{points[-1][0]:.1f},{bottom} {points[0][0]:.1f},{bottom}"
        yield f'<polygon class="{line.style}" points="{drawn} {ends}"/>'
    elif len(points) == 1:
        style = line.style.split()[0]
        yield f'<circle class="{style}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="2"/>'
    else:
        yield f'<polyline class="{line.style}" points="{drawn}"/>'


def _bands(report: Report, time: Timeline, bottom: float) -> Iterator[str]:
    """The stages, each second one shaded, with their names as far as there is room."""
    for number, (sample, left, right) in enumerate(time.bands()):
        name = report.stage_of(sample)
        if number % 2 == 0:
            yield (
                f'<rect class="band" x="{left:.1f}" y="0" width="{right - left:.1f}" '
                f'height="{bottom:.1f}"><title>{escape(name)}</title></rect>'
            )
        if right - left >= len(name) * _CHAR_PIXELS + 4:
            place = f'x="{(left + right) / 2:.1f}" y="{_NAMES}"'
            yield f'<text {place} text-anchor="middle">{escape(name)}</text>'


def _gaps(time: Timeline, bottom: float) -> Iterator[str]:
    for run in time.runs[1:]:
        x = run.left - 9
        yield (
            f'<line class="gap" x1="{x:.1f}" x2="{x:.1f}" y1="{_NAMES + 8}" y2="{bottom}">'
            "<title>nobody looked meanwhile</title></line>"
        )


def _ticks(time: Timeline, bottom: float) -> Iterator[str]:
    for x, text in time.ticks(pixels=78):
        yield f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{text}</text>'


def _marks(report: Report, time: Timeline, bottom: float) -> Iterator[str]:
    """Incidents, by the number that they have in the list."""
    for number, entry in enumerate(report.incidents, start=1):
        x = time.place(entry.when.timestamp())
        tip = escape(f"{number}: {entry.what} {entry.because}".strip())
        yield (
            f'<g><title>{tip}</title><line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{_FLAGS}" '
            f'y2="{bottom}"/><circle class="flag" cx="{x:.1f}" cy="{_FLAGS}" r="8"/>'
            f'<text class="number" x="{x:.1f}" y="{_FLAGS + 4}" text-anchor="middle">{number}'
            "</text></g>"
        )
