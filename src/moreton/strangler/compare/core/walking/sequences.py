"""Says which items of two lists belong together, where some came, went or moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from difflib import SequenceMatcher

# Beyond it items are taken by their places: to align them takes the square of their number.
ALIGNED_MAX = 1000

Pair = tuple[int | None, int | None]


def rearranged(primary: Sequence[Hashable], candidate: Sequence[Hashable]) -> bool:
    """Whether both have the same items, in another order."""
    return len(primary) == len(candidate) and Counter(primary) == Counter(candidate)


def aligned(primary: Sequence[Hashable], candidate: Sequence[Hashable]) -> Iterator[Pair]:
    """Indexes of items that belong together and are not the same; `None` where one has no partner.

    Items that are the same on both sides are left out. Where nothing helps, the first belongs to
    the first.
    """
    start, last = 0, min(len(primary), len(candidate))
    while start < last and primary[start] == candidate[start]:
        start += 1
    end = 0
    while end < last - start and primary[-1 - end] == candidate[-1 - end]:
        end += 1
    ours, theirs = primary[start : len(primary) - end], candidate[start : len(candidate) - end]
    if max(len(ours), len(theirs)) > ALIGNED_MAX:
        yield from _block(start, len(ours), start, len(theirs))
        return
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    for tag, a, a_end, b, b_end in matcher.get_opcodes():
        if tag != "equal":
            yield from _block(start + a, a_end - a, start + b, b_end - b)


def by_place(primary: int, candidate: int) -> Iterator[Pair]:
    """The first belongs to the first; the longer list's last have no partner."""
    return _block(0, primary, 0, candidate)


def _block(a: int, a_count: int, b: int, b_count: int) -> Iterator[Pair]:
    for step in range(max(a_count, b_count)):
        yield (a + step if step < a_count else None, b + step if step < b_count else None)
