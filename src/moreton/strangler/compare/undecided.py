"""What differs and may be noise: where, and how many requests more it takes to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from moreton.strangler.compare.core.differences import Shape
from moreton.strangler.compare.core.noise.learning import ASKED_MIN, Verdict
from moreton.strangler.compare.sqlite import Differences

_SHOWN_MAX = 5


@dataclass(frozen=True, slots=True)
class Undecided:
    """An endpoint whose candidate differs in *shapes*, of which it is not known if that is noise.

    The primary was *asked* twice so often.
    """

    endpoint: str
    asked: int
    shapes: Sequence[Shape]

    def sentence(self) -> str:
        """Where, why, and what it takes; with an example."""
        first, more = self.shapes[0], len(self.shapes) - 1
        others = f" and {more:,} more" if more else ""
        missing = ASKED_MIN - self.asked
        return (
            f"undecided: {self.endpoint} differs in {first.field} ({first.kind}){others}, "
            f"which may be noise; the application was asked twice {self.asked} of {ASKED_MIN} "
            f"times: {missing} {'request' if missing == 1 else 'requests'} more will tell"
        )


def undecided(kept: Differences) -> list[Undecided]:
    """All endpoints of which something is undecided, those first that want the fewest requests."""
    found: dict[str, list[Shape]] = {}
    asked: dict[str, int] = {}
    for _, one in kept.learned():
        if one.verdict is Verdict.UNDECIDED:
            found.setdefault(one.shape.endpoint, []).append(one.shape)
            asked[one.shape.endpoint] = one.asked
    every = [
        Undecided(endpoint, asked[endpoint], sorted(shapes, key=lambda one: (one.field, one.kind)))
        for endpoint, shapes in found.items()
    ]
    return sorted(every, key=lambda one: (-one.asked, one.endpoint))


def told_undecided(kept: Differences) -> list[str]:
    """A sentence for each of the first few of them, and one that says how many more there are."""
    found = undecided(kept)
    lines = [one.sentence() for one in found[:_SHOWN_MAX]]
    if len(found) > _SHOWN_MAX:
        more = len(found) - _SHOWN_MAX
        lines.append(f"{more:,} more are undecided: `moreton migrate diffs --learned` shows all")
    return lines
