"""Decisions about one key by limits of one moment each, written out without a loop or a call.

CPython lets another thread run only where a function begins, after a call and at a jump back. The
lines between reading the moments and storing them have none of these, so under its global lock they
are one step, at less than half of what a lock would cost. Without that lock the same lines run
within one of ours. The lines are made for the number of limits there is.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any, Protocol

from moreton.ratelimit.core.gcra import Gcra

Moments = dict[str, int]
GATES_MAX = 16

_ALLOW = """
def allow(key, cost=1):
    if cost is not one:
        return allow_cost(key, cost)
    now = clock()
    try:
        {read}
{steps}
        {store}
    except KeyError:
        return slow(key, 1)
    return True
"""
_STEP = """\
        if t{n} > now + slack{n}:
            return False
        t{n} = (t{n} if t{n} > now else now) + interval{n}"""
_ALLOW_COST = """
def allow_cost(key, cost):
    if type(cost) is not int or cost <= 0:
        return slow(key, cost)
    now = clock()
    try:
        {read}
{steps}
        {store}
    except KeyError:
        return slow(key, cost)
    return True
"""
_COST_STEP = """\
        t{n} = (t{n} if t{n} > now else now) + interval{n} * cost
        if t{n} > now + tolerance{n}:
            return False"""
_SWAP = """
def swap(keys, before, after):
    {names}
    try:
        if {same}:
            {store}
            return True
    except KeyError:
        return False
    return False
"""


class Allow(Protocol):
    """Whether a cost may pass; what it says of a key it does not know is what *slow* says."""

    def __call__(self, key: str, cost: int = 1) -> bool:
        """Charge *cost*, or nothing."""
        ...


Swap = Callable[[Sequence[str], Sequence[int], Sequence[int]], bool]


def has_global_lock() -> bool:
    """Whether only one thread at a time runs Python here."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return sys.implementation.name == "cpython" and (asked is None or asked())


def make_gate(
    limits: Sequence[Gcra],
    moments: Sequence[Moments],
    clock: Callable[[], int],
    slow: Allow,
    lock: RLock,
) -> tuple[Allow, Swap]:
    """The gate of *limits*, and the one way to change *moments* beside it.

    The swap stores *after* if *before*, the very objects, are still there for each of the keys.
    *lock* is taken where Python has no global one.
    """
    numbers = range(len(limits))
    names: dict[str, Any] = {"clock": clock, "slow": slow, "one": 1}
    for number, (limit, known) in enumerate(zip(limits, moments, strict=True)):
        names[f"d{number}"] = known
        names[f"interval{number}"] = limit.interval
        names[f"tolerance{number}"] = limit.tolerance
        names[f"slack{number}"] = limit.tolerance - limit.interval
    read = "; ".join(f"t{n} = d{n}[key]" for n in numbers)
    store = "; ".join(f"d{n}[key] = t{n}" for n in numbers)
    lines = "".join(
        form.format(read=read, store=store, steps="\n".join(step.format(n=n) for n in numbers))
        for form, step in ((_ALLOW, _STEP), (_ALLOW_COST, _COST_STEP))
    )
    lines += _SWAP.format(
        names="; ".join(f"k{n}, b{n}, a{n} = keys[{n}], before[{n}], after[{n}]" for n in numbers),
        same=" and ".join(f"d{n}[k{n}] is b{n}" for n in numbers),
        store="; ".join(f"d{n}[k{n}] = a{n}" for n in numbers),
    )
    source = f"def make({', '.join(names)}):{_indented(lines)}\n    return allow, swap"
    scope: dict[str, Any] = {}
    exec(compile(source, "<gates of limits>", "exec"), scope)  # noqa: S102 - the lines above
    made: tuple[Allow, Swap] = scope["make"](**names)
    return made if has_global_lock() else _locked(*made, lock)


def _indented(lines: str) -> str:
    return lines.replace("\n", "\n    ")


def _locked(allow: Allow, swap: Swap, lock: RLock) -> tuple[Allow, Swap]:
    """The same, one at a time."""

    def allow_alone(key: str, cost: int = 1) -> bool:
        with lock:
            return allow(key, cost)

    def swap_alone(keys: Sequence[str], before: Sequence[int], after: Sequence[int]) -> bool:
        with lock:
            return swap(keys, before, after)

    return allow_alone, swap_alone
