"""Which rules of the section `limits` all proxies keep together, by shares, and what they share."""

from __future__ import annotations

from collections.abc import Iterator

from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import FailMode, LimitRule, Place, Scope
from moreton.ratelimit.quota import CLOSED, OPEN, HeldQuota, Quota

# Of less than this at once a share is too little to let anything pass.
BURST_MIN = 20


def is_shared(rule: LimitRule) -> bool:
    """Whether all proxies keep *rule* together."""
    return rule.at is Place.GATEWAY and rule.scope is Scope.QUOTA and not rule.is_ban


def held_quota(rule: LimitRule) -> HeldQuota:
    """*rule* as its holders see it: its slowest rate, in requests."""
    rates = [one for one in rule.bounds if isinstance(one, RateBound)]
    slowest = min(rates, key=lambda one: one.rate.per_second)
    cost = rule.cost.number
    return HeldQuota(
        Quota(
            slowest.rate.per_second / cost,
            max(1, min(one.burst for one in rates) // cost),
            keyed=bool(rule.by),
        ),
        outage_share(rule.outage),
    )


def outage_share(mode: FailMode) -> float | None:
    """The share of a proxy that nobody counts on any more; `None`: its last."""
    if mode.keep:
        return None
    if mode.local is not None:
        return mode.local
    return CLOSED if mode.refuse else OPEN


def share_problems(rule: LimitRule) -> Iterator[tuple[str, str]]:
    """Why proxies cannot share *rule*, each with what to do; none when they can."""
    if not is_shared(rule):
        return
    if 0 < rule.outage.refuse < 1:
        what = f"a proxy cannot refuse {rule.outage.refuse:.0%} of the requests in an outage"
        yield what, "write `on_outage: keep`, open, closed or a share"
    for bound in rule.bounds:
        if not isinstance(bound, RateBound):
            yield f"a share of {bound.name} cannot be handed out", "take `scope: local`"
        elif bound.burst // rule.cost.number < BURST_MIN:
            yield (
                f"of {bound.burst // rule.cost.number} requests at once a share lets nothing pass",
                f"give a burst of {BURST_MIN * rule.cost.number} or more, or take `scope: exact`",
            )
