from __future__ import annotations

from dataclasses import replace

import pytest

from moreton.gateway.compile.limits.shares.charges import CHARGE_MAX, UNITS, charge, units_of
from moreton.gateway.compile.limits.shares.filters import read_asked
from moreton.gateway.core.quotas import held_quota, share_problems
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound, WorkBound
from moreton.ratelimit.core.rules.values import Cost, FailMode, LimitRule, Part, Scope, Trait
from moreton.ratelimit.quota import CLOSED, OPEN

RULE = LimitRule("orders", (RateBound(parse_rate("100/s"), 50),), scope=Scope.QUOTA)


@pytest.mark.parametrize(
    ("share", "cost", "charged"),
    [
        (1.0, 1, 1000),
        (0.5, 1, 2000),
        (0.5, 3, 6000),
        (0.3, 1, 3334),
        (0.01, 1, 100_000),
        (CLOSED, 1, CHARGE_MAX),
        (1e-9, 1, CHARGE_MAX),
        (OPEN, 7, 1),
    ],
)
def test_who_has_less_is_charged_more_and_never_too_little(
    share: float, cost: int, charged: int
) -> None:
    assert charge(share, UNITS, cost) == charged


def test_a_large_bucket_has_larger_units() -> None:
    assert units_of(50) == UNITS
    assert units_of(10_000_000) * 10_000_000 <= CHARGE_MAX
    assert units_of(2**32 - 1) == 1


def test_what_was_asked_of_a_rule_with_conditions_is_what_was_counted_for_it() -> None:
    end = ".http_local_rate_limit."
    found = {
        f"asked/a.b@public{end}rate_limited": 3,
        f"limit/a.b@public{end}enabled": 900,
        f"limit/a.b/1@public{end}enabled": 800,
        f"limit/all@inner{end}enabled": 7,
        f"limit/local{end}enabled": 5,
    }
    assert read_asked(found) == {("public", "a.b"): 3, ("inner", "all"): 7}


def test_a_quota_is_the_slowest_rate_in_requests() -> None:
    bounds = (*RULE.bounds, RateBound(parse_rate("1200/min"), 1200))
    held = held_quota(replace(RULE, bounds=bounds, cost=Cost(2, most=2)))
    assert (held.quota.rate, held.quota.burst, held.quota.keyed) == (10.0, 25, False)
    assert held_quota(replace(RULE, by=(Part(Trait.ADDRESS),))).quota.keyed


@pytest.mark.parametrize(
    ("mode", "share"),
    [
        (FailMode.kept(), None),
        (FailMode.open(), OPEN),
        (FailMode.closed(), CLOSED),
        (FailMode.share(0.25), 0.25),
    ],
)
def test_an_outage_is_a_share(mode: FailMode, share: float | None) -> None:
    assert held_quota(replace(RULE, outage=mode)).outage == share


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (replace(RULE, outage=FailMode(0.3)), "refuse 30%"),
        (replace(RULE, bounds=(WorkBound(5),)), "5 at once"),
        (replace(RULE, bounds=(RateBound(parse_rate("5/s"), 5),)), "5 requests at once"),
        (replace(RULE, cost=Cost(5, most=5)), "10 requests at once"),
    ],
)
def test_what_cannot_be_shared_is_said(rule: LimitRule, said: str) -> None:
    ((what, todo),) = share_problems(rule)
    assert said in what
    assert todo


def test_what_each_proxy_keeps_by_itself_is_no_problem_of_shares() -> None:
    alone = replace(RULE, scope=Scope.LOCAL, bounds=(RateBound(parse_rate("5/s"), 5),))
    assert list(share_problems(alone)) == []
    assert list(share_problems(RULE)) == []
