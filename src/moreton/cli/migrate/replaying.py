"""What is left of a stored difference once the candidate was mended."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from datetime import datetime

from moreton.strangler.compare import Answer, Difference, Redactor, Rulebook
from moreton.strangler.compare.core.differences import Shape
from moreton.strangler.compare.core.rules.rulebook import Rule
from moreton.strangler.compare.sqlite import Pair
from moreton.strangler.compare.written import compare_again

_HIDDEN = re.compile(r"<[0-9a-f]+>")
_EXPIRIES = ("cookie:*;expires", "header:expires")
_CLOCKS_APART_SECONDS = 5


def left_of(
    pair: Pair,
    answer: Answer,
    redactor: Redactor,
    rules: Iterable[Rule],
    *,
    noise: Collection[Shape],
    now: datetime,
) -> list[Difference]:
    """In what *answer*, given *now*, differs from what the primary answered then.

    Expiries have moved on since. What did not differ then does not count where it is *noise*, or a
    secret that was hidden on both sides: of those it was never kept whether they look alike.
    """
    age = max(0, int((now - pair.seen).total_seconds())) + _CLOCKS_APART_SECONDS
    aged = [Rule.parse(path, f"moment within {age}s", "is reckoned from now") for path in _EXPIRIES]
    found = compare_again(pair.primary, answer, redactor, Rulebook([*rules, *aged]))
    then = {one.shape(pair.endpoint) for one in pair.differences}
    return [
        one
        for one in found.differences
        if (shape := one.shape(pair.endpoint)) in then
        or not (shape in noise or (_is_hidden(one.primary) and _is_hidden(one.candidate)))
    ]


def _is_hidden(value: str) -> bool:
    return _HIDDEN.fullmatch(value) is not None
