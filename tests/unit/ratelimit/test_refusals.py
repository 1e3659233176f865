"""Refusals that are remembered: bounded in number, and in the time that this takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.ratelimit.core.decision import Decision
from moreton.ratelimit.redis import refusals
from moreton.ratelimit.redis.refusals import SWEEP_NANOS, Refusals


def refused(nanos: int) -> Decision:
    return Decision(
        allowed=False,
        cost=1,
        delay_nanos=0,
        retry_nanos=nanos,
        refused_by="limit",
        standings=(),
    )


def test_full_memory_of_refusals_is_looked_through_now_and_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(refusals, "REMEMBERED_MAX", 3)
    known = Refusals(timedelta(seconds=1))
    for key in "abc":
        known.add(key, 0, 0, refused(10))
    known.add("d", 5, 0, refused(10**9))
    assert known.find("d", 6, 0) is None  # all others still hold
    assert known.find("a", 6, 0) is not None
    known.add("d", 20, 0, refused(10**9))
    assert known.find("d", 21, 0) is None  # they have ended, but who floods is not to cost a look
    known.add("d", 5 + SWEEP_NANOS, 0, refused(10**9))
    assert known.find("d", 6 + SWEEP_NANOS, 0) is not None
    assert len(known) == 1
