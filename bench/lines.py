"""Lines over an axis, as SVG: the same numbers draw the same text."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 168, 14, 40
COLOURS = ("#888888", "#c0392b", "#d68910", "#1e8449", "#2471a3")


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
