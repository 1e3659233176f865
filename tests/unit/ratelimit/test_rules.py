"""Rules let pass, delay, refuse and only count; who is refused by one pays no other."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.ratelimit import Concurrency, Gcra, LeakyBucket, LocalLimiter
from moreton.ratelimit.core.limit import Limit
from moreton.ratelimit.redis import LeasedLimiter
from moreton.ratelimit.rules import Caller, Excess, Mode, Rule, by_address, by_header, everyone
from moreton.ratelimit.servers.guard import Guard, Passage
from support.manual_clock import ManualClock

CLOCK = ManualClock()
Enter = Callable[[Guard, Caller], Passage]


def limiter(*limits: Limit) -> LocalLimiter:
    return LocalLimiter(*limits, clock=CLOCK)


def caller(address: str = "203.0.113.9", path: str = "/", **headers: str) -> Caller:
    return Caller("GET", path, {k.replace("_", "-"): v for k, v in headers.items()}, address)


def enter_async(guard: Guard, one: Caller) -> Passage:
    return asyncio.run(guard.enter_async(one))


@pytest.fixture(params=[Guard.enter, enter_async], ids=["sync", "async"])
def enter(request: pytest.FixtureRequest) -> Enter:
    found: Enter = request.param
    return found


def test_who_is_refused_is_told_why_and_when(enter: Enter) -> None:
    guard = Guard([Rule(limiter(Gcra("2/min", name="visitors")))])
    assert dict(enter(guard, caller()).fields)["ratelimit"] == '"visitors";r=1;t=30'
    enter(guard, caller())
    refusal = enter(guard, caller()).refusal
    assert refusal is not None
    assert (refusal.status, dict(refusal.fields)["retry-after"]) == (429, "30")
    assert json.loads(refusal.body) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "detail": "refused by visitors: free in 30 s",
        "code": "rate-limited",
        "violated-policies": ["visitors"],
        "retry_after": 30,
    }
    assert enter(guard, caller("203.0.113.10")).refusal is None


def test_a_refusal_by_one_rule_gives_back_what_the_others_charged(enter: Enter) -> None:
    tenants, addresses = limiter(Gcra("10/h")), limiter(Gcra("1/h"))
    guard = Guard([Rule(tenants, by_header("x-api-key")), Rule(addresses)])
    found = [enter(guard, caller(x_api_key="ada")).refusal is None for _ in range(5)]
    assert found == [True, False, False, False, False]
    assert tenants.decide("ada", 0).left == 9
    assert enter(guard, caller("203.0.113.8")).refusal is None  # no key: not counted


def test_a_shadow_counts_and_never_acts(enter: Enter) -> None:
    rule = Rule(limiter(Gcra("2/h")), everyone, mode=Mode.SHADOW)
    guard = Guard([rule])
    passages = [enter(guard, caller()) for _ in range(5)]
    assert all(one.refusal is None and not one.fields for one in passages)
    counts = rule.counts
    assert (counts.allowed, counts.shadowed, counts.refused) == (2, 3, 0)
    assert enter(Guard([Rule(limiter(Gcra("1/h")), mode=Mode.OFF)]), caller()).passed == []


def test_a_share_of_the_requests_is_enforced(enter: Enter) -> None:
    rule = Rule(limiter(Gcra("1/h")), everyone, share=0.3, rng=seeded_rng(4))
    guard = Guard([rule])
    refused = sum(enter(guard, caller()).refusal is not None for _ in range(300))
    assert 60 < refused < 120
    assert rule.counts.refused + rule.counts.shadowed == 299


def test_a_delay_is_waited_for_where_the_rule_says_so(enter: Enter) -> None:
    guard = Guard([Rule(limiter(Gcra("2/s", burst=1)), wait=timedelta(seconds=1))])
    CLOCK.slept.clear()
    assert [enter(guard, caller()).refusal is None for _ in range(3)] == [True] * 3
    assert CLOCK.slept == [0.5, 0.5]
    full = Guard([Rule(limiter(LeakyBucket("2/s", queue=5)))], waiting_max=0)
    assert enter(full, caller()).refusal is None
    assert enter(full, caller()).refusal is not None


def test_only_failed_logins_are_counted(enter: Enter) -> None:
    def failed(status: int) -> int:
        return int(status == 401)

    guard = Guard([Rule(limiter(Gcra("2/h")), charge=failed)])
    statuses = [200, 401, 200, 401]
    for status in statuses:
        passage = enter(guard, caller())
        assert passage.refusal is None
        guard.leave(passage, status)
    assert enter(guard, caller()).refusal is not None


def test_work_gives_back_its_place_when_it_is_answered(enter: Enter) -> None:
    guard = Guard([Rule(limiter(Concurrency(1), Gcra("3/h")), status=503)])
    passage = enter(guard, caller())
    refusal = enter(guard, caller()).refusal
    assert refusal is not None
    assert json.loads(refusal.body)["title"] == "Reduced capacity"
    guard.leave(passage, 200)
    passage = enter(guard, caller())
    assert passage.refusal is None
    asyncio.run(guard.leave_async(passage, 200))
    # What was used of a rate stays used.
    assert enter(guard, caller()).refusal is None
    assert enter(guard, caller()).refusal is not None


def test_what_is_dropped_is_told_nothing(enter: Enter) -> None:
    guard = Guard([Rule(limiter(Gcra("1/h")), everyone, excess=Excess.DROP)])
    enter(guard, caller())
    refusal = enter(guard, caller()).refusal
    assert refusal is not None
    assert (refusal.drop, refusal.body, refusal.fields) == (True, b"", [("content-length", "0")])


def test_costs_may_follow_from_the_request(enter: Enter) -> None:
    guard = Guard([Rule(limiter(Gcra("5/h")), cost=lambda one: 4 if one.path == "/report" else 1)])
    assert enter(guard, caller(path="/report")).refusal is None
    assert enter(guard, caller(path="/report")).refusal is not None
    assert enter(guard, caller()).refusal is None


def test_addresses_behind_ones_own_proxies_are_told_apart(enter: Enter) -> None:
    guard = Guard([Rule(limiter(Gcra("1/h")), by_address(trusted=["10.0.0.0/8"]))])
    for client in ("203.0.113.1", "203.0.113.2"):
        found = [
            enter(guard, caller("10.0.0.1", x_forwarded_for=f"{forged}, {client}")).refusal is None
            for forged in ("1.1.1.1", "2.2.2.2")
        ]
        assert found == [True, False]


@pytest.mark.parametrize("peer", ["10.0.0.2", "::ffff:10.0.0.2", "[::ffff:10.0.0.2]:4711"])
def test_a_proxy_is_known_by_a_socket_for_both_kinds_of_addresses(peer: str) -> None:
    by = by_address(trusted=["10.0.0.0/8"])
    assert by(caller(peer, x_forwarded_for="203.0.113.9")) == "203.0.113.9"


def test_a_proxy_over_a_unix_socket_is_trusted_where_it_is_named() -> None:
    asked = caller("", x_forwarded_for="6.6.6.6, 203.0.113.9")
    assert by_address(trusted=["unix"])(asked) == "203.0.113.9"
    assert by_address(trusted=["unix", "203.0.113.0/24"])(asked) == "6.6.6.6"
    assert by_address(trusted=["10.0.0.0/8"])(asked) == ""


def test_who_leaves_while_waiting_holds_no_place() -> None:
    work, turns = LocalLimiter(Concurrency(1)), LocalLimiter(LeakyBucket("1/h", queue=9))
    guard = Guard([Rule(work, everyone), Rule(turns, everyone)])

    async def leave() -> None:
        await guard.leave_async(await guard.enter_async(caller()), 200)
        waiting = asyncio.create_task(guard.enter_async(caller()))
        await asyncio.sleep(0)
        assert work.decide("", 0).left == 0
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    assert work.decide("", 0).left == 1


def test_an_error_of_a_later_rule_frees_the_place_of_an_earlier_one(enter: Enter) -> None:
    work = limiter(Concurrency(1))
    two_keys = Rule(limiter(Gcra("1/s"), Gcra("2/s")), lambda _: ("one", "two", "three"))
    with pytest.raises(ValueError, match="3 keys for 2 limits"):
        enter(Guard([Rule(work, everyone), two_keys]), caller())
    assert work.decide("", 0).left == 1


def test_what_only_asks_is_given_back_once(enter: Enter) -> None:
    store = limiter(Gcra("20/h", burst=20))
    leased = LeasedLimiter(store, batch_max=20)
    shut = limiter(Gcra("1/h"))
    guard = Guard([Rule(leased, everyone, charge=lambda _: 0), Rule(shut, everyone)])
    for _ in range(9):
        enter(guard, caller())
    # One more was taken than is left in the batch, and no more come of refusals.
    assert sum(leased.allow("") for _ in range(40)) == 20


def test_an_error_of_what_is_charged_frees_every_place() -> None:
    def broken(_: int) -> int:
        raise LookupError

    work = limiter(Concurrency(1))
    guard = Guard([Rule(limiter(Gcra("9/s")), charge=broken), Rule(work, everyone)])
    passage = guard.enter(caller())
    with pytest.raises(LookupError):
        guard.leave(passage, 200)
    assert work.decide("", 0).left == 1


def test_what_is_least_critical_is_shed_first(enter: Enter) -> None:
    guard = Guard([Rule(limiter(Gcra("100/h")), everyone, shed=True)])
    admitted = {}
    for level in ("sheddable", "sheddable-plus", "critical", "critical-plus"):
        one = caller(x_moreton_criticality=level)
        admitted[level] = sum(enter(guard, one).refusal is None for _ in range(100))
    assert list(admitted.values()) == [60, 20, 15, 5]


@pytest.mark.parametrize(
    ("misuse", "kind", "text"),
    [
        (lambda: Rule(Gcra("1/s")), TypeError, "give a limiter"),  # type: ignore[arg-type]
        (lambda: Rule(limiter(Gcra("1/s")), "ip"), TypeError, "as by_address"),  # type: ignore[arg-type]
        (lambda: Rule(limiter(Gcra("1/s")), status=200), ValueError, "give 429, or 503"),
        (lambda: Rule(limiter(Gcra("1/s")), share=2), ValueError, "share of the requests"),
        (lambda: Rule(limiter(Gcra("1/s")), mode="on"), ValueError, "on"),  # type: ignore[arg-type]
        (lambda: Guard([limiter(Gcra("1/s"))]), TypeError, "give a Rule"),  # type: ignore[list-item]
        (lambda: by_address(trusted=["10.0.0.1/8"]), ValueError, "host bits"),
    ],
)
def test_misuse_is_told(misuse: Callable[[], Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        misuse()
