"""What counts for a rule: a limiter of its scope, and the rule around it that servers apply."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moreton.kernel.rng import Rng
from moreton.ratelimit.clocks import LimitClock
from moreton.ratelimit.core.rules.bounds import AdmissionBound, Bound
from moreton.ratelimit.core.rules.values import Cost, Counters, LimitRule, Scope, Trait, Verdict
from moreton.ratelimit.limiter import Limiter
from moreton.ratelimit.local import LocalLimiter
from moreton.ratelimit.rules import Caller, Excess, Rule, SaidCost

_MEMORY = Path("/dev/shm")  # noqa: S108 - the memory of the machine, where limits belong
_SECRET = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Kept:
    """What a limiter counts; while it is the same, so is the limiter, and nobody begins anew."""

    rule: str
    variant: str
    bounds: tuple[Bound, ...]
    scope: Scope
    outage: object
    counters: Counters


def kept(rule: LimitRule, variant: str, bounds: tuple[Bound, ...], counters: Counters) -> Kept:
    """What the limiter of *rule* for a *variant* counts."""
    return Kept(rule.name, variant, bounds, rule.scope, rule.outage, counters)


def make_limiter(what: Kept, rule: LimitRule, clock: LimitClock) -> Limiter:
    """The limiter of *what*; raises what its store does."""
    several = len(what.bounds) > 1
    limits = [
        bound.as_limit(f"{what.rule}:{bound.name}" if several else what.rule)
        for bound in what.bounds
        if not isinstance(bound, AdmissionBound)
    ]
    match what.scope:
        case Scope.LOCAL:
            return LocalLimiter(*limits, clock=clock)
        case Scope.MACHINE:
            from moreton.ratelimit.shared import SharedLimiter  # noqa: PLC0415 - where it is wanted

            return SharedLimiter(_file(what), *limits, clock=clock)
        case Scope.EXACT | Scope.QUOTA:
            from moreton.ratelimit.redis import (  # noqa: PLC0415 - as above; an extra
                LeasedLimiter,
                RedisLimiter,
            )

            store = RedisLimiter(
                what.counters.redis,
                *limits,
                name=f"{what.rule}/{what.variant}" if what.variant else what.rule,
                fail=rule.outage,
                budget=what.counters.budget,
                clock=clock,
            )
            return store if what.scope is Scope.EXACT else LeasedLimiter(store)


def make_rule(rule: LimitRule, limiter: Limiter, api_key_header: str, rng: Rng) -> Rule:
    """*rule* as servers apply it, around *limiter*; its keys are found elsewhere."""
    secret = {*_SECRET, api_key_header}
    return Rule(
        limiter,
        key=_found_elsewhere,
        cost=_price(rule.cost),
        wait=rule.wait,
        mode=rule.mode,
        share=rule.share,
        excess=Excess.DROP if rule.verdict is Verdict.DROP else Excess.REJECT,
        status=rule.status,
        style=rule.fields,
        charge=_charge(rule.cost),
        shed=rule.shed,
        criticality=rule.criticality,
        name=rule.name,
        rng=rng,
        secret=any(part.trait is Trait.HEADER and part.name in secret for part in rule.by),
    )


def _found_elsewhere(_: Caller) -> None:
    raise AssertionError("a rulebook says the keys of its rules")


def _price(cost: Cost) -> Callable[[Caller], int] | int:
    if cost.is_of_answers:
        return 1  # one has to be left; what is charged the answer says
    if not cost.header:
        return cost.number

    def price(caller: Caller) -> int:
        return SaidCost(cost.header, cost.most, cost.number).read(caller.headers.get)

    return price


def _charge(cost: Cost) -> Callable[[int], int] | SaidCost | None:
    if cost.answer_header:
        return SaidCost(cost.answer_header, cost.most, cost.number)
    if not cost.answers:
        return None
    return lambda status: int(any(first <= status <= last for first, last in cost.answers))


def _file(what: Kept) -> Path:
    """Where the processes of this machine count *what*: other limits, another file."""
    shape = repr((what.rule, what.variant, what.bounds)).encode()
    digest = hashlib.blake2b(shape, digest_size=6).hexdigest()
    if what.counters.file:
        return Path(f"{what.counters.file}-{what.rule}-{digest}")
    folder = _MEMORY if _MEMORY.is_dir() else Path(tempfile.gettempdir())
    return folder / f"moreton-limits-{what.rule}-{digest}"
