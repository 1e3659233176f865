"""The answer to a request for a decision, in no protocol's words yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from moreton.ratelimit.core.decision import NOT_TAKEN, Decision, Standing
from moreton.ratelimit.core.limit import NEVER
from moreton.ratelimit.rls.core.settling import Verdict
from moreton.ratelimit.rls.core.tree import COUNT_MAX, Entry, Threshold, Unit


@dataclass(frozen=True, slots=True)
class Override:
    """A limit that the asker brings: *count* in *multiplier* units."""

    count: int
    unit: Unit
    multiplier: int = 1


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What was asked about: *entries*, and what is charged where it is not what all are.

    A *cost* below 0 is given back. *override* is the limit in place of any that is configured.
    """

    entries: tuple[Entry, ...]
    cost: int | None = None
    override: Override | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """How one descriptor stands; without *threshold* nothing limits it."""

    over: bool = False
    threshold: Threshold | None = None
    left: int = 0
    reset_nanos: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """*refused* or not; *delay_nanos* is how long the request is to wait before it goes on.

    *moment* is when it was let in, where its end is to be reported.
    """

    refused: bool
    statuses: tuple[Status, ...]
    delay_nanos: int = 0
    fields: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    metadata: dict[str, Any] = field(default_factory=dict)
    moment: int = 0


UNLIMITED = Status(left=COUNT_MAX)


def status_of(threshold: Threshold, verdict: Verdict, *, shadow: bool) -> Status:
    """What is told of *threshold*: one in *shadow* is never over."""
    left = min(COUNT_MAX, verdict.left)
    over = verdict.over and not shadow
    return Status(over, threshold, 0 if verdict.over else left, verdict.reset_nanos)


def tightest(statuses: Sequence[Status]) -> Status:
    """The one of *statuses* that says most: that is over, or has least left."""
    known = [one for one in statuses if one.threshold is not None]
    return min(known, key=lambda one: (not one.over, one.left), default=Status())


def decision_of(
    found: Sequence[tuple[Threshold, Verdict]], *, refused: bool, delay_nanos: int, cost: int
) -> Decision:
    """The same as of one limiter, for header fields and for people; shadows are not told of."""
    standings, retry, by = [], 0, None
    for threshold, verdict in found:
        if threshold.shadow or threshold.report:
            continue
        limit = threshold.limit
        if limit is not None:
            standings.append(Standing(limit, verdict.left, verdict.reset_nanos, verdict.wait_nanos))
        if refused and verdict.over and retry != NEVER:
            wait = verdict.wait_nanos
            if wait == NEVER or wait >= retry:
                retry = wait
                by = limit.name if limit is not None else threshold.name
    if refused and by not in {one.limit.name for one in standings}:
        standings = []  # a ban, which no limit of the others explains
    return Decision(
        allowed=not refused,
        cost=cost,
        delay_nanos=delay_nanos,
        retry_nanos=retry,
        refused_by=by,
        standings=tuple(standings),
        taken=(NOT_TAKEN,) * len(standings),
    )


def merged(found: Sequence[Threshold]) -> dict[str, Any]:
    """The metadata of all of *found*; where two say different things, the first does."""
    out: dict[str, Any] = {}
    for one in found:
        _merge(out, one.metadata)
    return out


def _merge(into: dict[str, Any], more: Any) -> None:
    for key, value in more.items():
        known = into.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            into[key] = dict(known)
            _merge(into[key], value)
        elif key not in into:
            into[key] = value
