"""What guards decide is counted, bounded, and told without secrets."""

from __future__ import annotations

import logging
import os
import threading
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry

from moreton.ratelimit import Gcra, LocalLimiter
from moreton.ratelimit.redis import FailMode, RedisLimiter
from moreton.ratelimit.rules import Caller, Excess, Mode, Rule, by_header, everyone
from moreton.ratelimit.seeing import TALLY, Tally, Verdict
from moreton.ratelimit.seeing.core.report import KEY_CHARS_MAX, OTHER, RULES_MAX, TALKERS_MAX
from moreton.ratelimit.seeing.tally import Noted, masked
from moreton.ratelimit.seeing.telemetry import export_opentelemetry, export_prometheus
from moreton.ratelimit.servers.guard import Guard
from support.manual_clock import ManualClock
from support.waits import join_all, status_of_child

CLOCK = ManualClock()


def caller(**headers: str) -> Caller:
    return Caller("GET", "/", {k.replace("_", "-"): v for k, v in headers.items()}, "203.0.113.9")


def a_day(count: int, **settings: Any) -> Rule:
    return Rule(LocalLimiter(Gcra(f"{count}/d"), clock=CLOCK), **settings)


def told(tally: Tally) -> dict[str, dict[tuple[str, str], int]]:
    return {
        one.rule: {(str(verdict), mode): n for (verdict, mode), n in one.decisions.items()}
        for one in tally.take().rules
    }


def test_a_guard_counts_each_rule_by_verdict_and_mode() -> None:
    tally = Tally()
    rules = [
        a_day(3, name="watched", mode=Mode.SHADOW),
        a_day(2, name="visitors"),
        a_day(9, name="never", mode=Mode.OFF),
    ]
    guard = Guard(rules, tally=tally)
    for _ in range(4):
        guard.enter(caller())
    Guard([a_day(1, excess=Excess.DROP)], tally=tally).enter(caller())
    # Of those that "visitors" refused the other was given back.
    assert told(tally) == {
        "watched": {("allow", "shadow"): 4},
        "visitors": {("allow", "enforce"): 2, ("reject", "enforce"): 2},
        "1/d": {("allow", "enforce"): 1},
    }
    assert told(tally) == {}


def test_who_asks_is_told_but_for_secrets() -> None:
    tally = Tally()
    open_, hidden = a_day(1, name="open"), a_day(1, key=by_header("x-api-key"), secret=True)
    guard = Guard([open_, hidden], tally=tally)
    for _ in range(3):
        guard.enter(caller(x_api_key="of-ada"))
    rules = {one.rule: one for one in tally.take().rules}
    (talker,) = rules["open"].talkers
    assert (talker.key, talker.count, talker.refused) == ("203.0.113.9", 3, 2)
    (secret,) = rules["1/d"].talkers
    assert secret.key == masked("of-ada")
    assert "ada" not in secret.key


def test_memory_is_bounded_whoever_asks() -> None:
    tally = Tally()
    for number in range(RULES_MAX + 5):
        tally.note(f"rule {number}", ["a"], Verdict.ALLOW, "enforce")
    for number in range(10 * TALKERS_MAX):
        tally.note("rule 0", [f"key {number}" * 100], Verdict.ALLOW, "enforce")
    tally.note("rule 0", ["\x1b[2J\ud800"], Verdict.ALLOW, "enforce", cost=1000)
    report = tally.take()
    assert len(report.rules) == RULES_MAX + 1
    assert report.rules[-1].rule == OTHER
    assert report.rules[-1].decisions == {(Verdict.ALLOW, "enforce"): 5}
    first = report.rules[0]
    assert len(first.talkers) == TALKERS_MAX
    assert first.talkers[0].key == "�[2J�"
    assert all(len(one.key) <= KEY_CHARS_MAX for one in first.talkers)


def test_threads_lose_no_count() -> None:
    tally = Tally()

    def note() -> None:
        for number in range(2000):
            tally.note("busy", [str(number % 3)], Verdict.ALLOW, "enforce")

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    join_all(threads)
    (rule,) = tally.take().rules
    assert rule.decisions == {(Verdict.ALLOW, "enforce"): 8000}
    assert sum(one.count for one in rule.talkers) == rule.total == 8000


def test_a_child_process_counts_for_itself() -> None:
    TALLY.note("before the fork", ["a"], Verdict.ALLOW, "enforce")
    child = os.fork()
    if child == 0:
        os._exit(len(TALLY.take().rules))
    assert status_of_child(child) == 0
    assert "before the fork" in [one.rule for one in TALLY.take().rules]


def test_prometheus_and_opentelemetry_count_the_same() -> None:
    tally, registry, reader = Tally(), CollectorRegistry(), InMemoryMetricReader()
    provider = MeterProvider([reader])
    stops = [
        export_prometheus(registry, tally=tally),
        export_opentelemetry(provider.get_meter("test"), tally=tally),
    ]
    guard = Guard([a_day(2, name="visitors")], tally=tally)
    for _ in range(5):
        guard.enter(caller())
    labels = {"rule": "visitors", "verdict": "reject", "mode": "enforce"}
    assert registry.get_sample_value("moreton_limit_decisions_total", labels) == 3
    data: Any = reader.get_metrics_data()
    points = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    assert {point.attributes["verdict"]: point.value for point in points} == {
        "allow": 2,
        "reject": 3,
    }
    for stop in stops:
        stop()
    guard.enter(caller())
    assert registry.get_sample_value("moreton_limit_decisions_total", labels) is None
    provider.shutdown()


def test_what_is_decided_without_the_store_is_seen() -> None:
    tally, registry = Tally(), CollectorRegistry()
    stop = export_prometheus(registry, tally=tally)
    nobody = RedisLimiter("unix:///nowhere/redis.sock", Gcra("9/s"), fail=FailMode.closed())
    guard = Guard([Rule(nobody, everyone, name="api")], tally=tally)
    for _ in range(3):
        guard.enter(caller())
    assert registry.get_sample_value("moreton_limit_degraded_total", {"rule": "api"}) == 3
    (rule,) = tally.take().rules
    assert (rule.degraded, rule.talkers[0].refused) == (3, 3)
    stop()


def test_a_listener_that_fails_spoils_no_decision(caplog: pytest.LogCaptureFixture) -> None:
    tally = Tally()

    def fail(_: Noted) -> None:
        raise LookupError

    tally.subscribe(fail)
    guard = Guard([a_day(2, name="visitors")], tally=tally)
    with caplog.at_level(logging.ERROR, "moreton.ratelimit"):
        assert guard.enter(caller()).refusal is None
    assert "a listener failed on a decision of visitors" in caplog.text
    tally.unsubscribe(fail)
    tally.unsubscribe(fail)
    with pytest.raises(TypeError, match="give a function that takes a Noted"):
        tally.subscribe("me")  # type: ignore[arg-type]
