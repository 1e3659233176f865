"""A story as an SVG picture: one row a step, time from left to right."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from moreton.transactions.saga.core.plan import Plan
from moreton.transactions.saga.drawing.story import Line, Story, span

WIDTH = 900
_LEFT, _RIGHT, _TOP, _ROW = 170, 130, 56, 28
_COLOURS = {"✓": "#2e7d32", "✗": "#b26a00", "↶": "#616161", "…": "#1565c0"}
_SAYS = {"✓": "done", "✗": "failed", "↶": "undone", "…": "waits"}


def timeline(story: Story, plan: Plan) -> str:
    """The picture; it stands alone, without scripts or fonts of its own."""
    rows = {step.name: _TOP + _ROW * i for i, step in enumerate(plan.steps)}
    end = max((line.after for line in story.lines), default=0) or 1
    height = _TOP + _ROW * len(rows) + 40
    body = "\n".join(
        [*_heading(story), *_grid(rows, end, height), *_bars(story, plan, rows, end),
         *_turn(story, end, height)]
    )  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _heading(story: Story) -> Iterator[str]:
    row = story.row
    title = escape(f"{row.id}: {row.name} version {row.version}, {row.status}")
    yield f'<text x="12" y="22" font-size="15" font-weight="bold">{title}</text>'
    if row.reason:
        yield f'<text x="12" y="40" fill="#616161">{escape(row.reason)}</text>'


def _grid(rows: dict[str, int], end: int, height: int) -> Iterator[str]:
    for name, y in rows.items():
        yield f'<text x="12" y="{y + 15}">{escape(name)}</text>'
        yield f'<line x1="{_LEFT}" y1="{y + 22}" x2="{WIDTH - 20}" y2="{y + 22}" stroke="#e0e0e0"/>'
    for quarter in range(5):
        x = _x(end * quarter // 4, end)
        label = span(end * quarter // 4)
        yield f'<text x="{x}" y="{height - 12}" text-anchor="middle" fill="#616161">{label}</text>'


def _bars(story: Story, plan: Plan, rows: dict[str, int], end: int) -> Iterator[str]:
    """From when a step could begin to when it ended; then a mark for each other thing."""
    ended: dict[str, int] = {}
    for line in story.lines:
        if line.step not in rows:
            continue
        i = plan.index[line.step]
        before = [ended.get(plan.steps[j].name, 0) for j in plan.before[i]]
        start = ended.get(line.step, max(before, default=0))
        yield _bar(line, rows[line.step], start, end)
        ended[line.step] = line.after


def _bar(line: Line, y: int, start: int, end: int) -> str:
    x, right = _x(start, end), _x(line.after, end)
    colour = _COLOURS.get(line.mark, "#616161")
    dash = ' stroke-dasharray="4 3"' if line.mark in {"↶", "…"} else ""
    tip = escape(f"{line.step} {_SAYS.get(line.mark, '')} after {span(line.after)}: {line.what}")
    return (
        f'<g><title>{tip}</title><line x1="{x}" y1="{y + 11}" x2="{max(right, x + 2)}" '
        f'y2="{y + 11}" stroke="{colour}" stroke-width="6"{dash}/>'
        f'<text x="{right + 4}" y="{y + 15}" fill="{colour}">{line.mark}</text></g>'
    )


def _turn(story: Story, end: int, height: int) -> Iterator[str]:
    for line in story.lines:
        if line.mark == "←":
            x = _x(line.after, end)
            yield (
                f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{height - 28}" stroke="#b3261e" '
                f'stroke-dasharray="2 3"/><text x="{x + 4}" y="{_TOP - 4}" fill="#b3261e">goes '
                "back</text>"
            )


def _x(micros: int, end: int) -> int:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * micros // end
