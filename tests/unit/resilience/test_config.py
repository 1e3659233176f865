from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from moreton.config import ConfigRefused
from moreton.gateway.config.policies import inexpressible
from moreton.resilience import Retry
from moreton.resilience.config import PoliciesSection, load_policies

TEXT = """
version: 1
services: {anything: {that: another program checks}}
policies:
  careful:
    idempotent: true
    total_timeout: 10s
    retry: {attempts: 4, backoff: {initial: 50ms, multiplier: 3, jitter: equal}}
    throttle: {}
    breaker: {window: 10s, slow_call: 2s}
    adaptive: {kind: vegas}
    bulkhead: {limit: 20, queue: 5}
    hedge: {after: 100ms}
    timeout: 2s
  patient: {retry: {attempts: 5, backoff: {preset: patient}}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "moreton.yaml"
    path.write_text(TEXT)
    return path


def test_layers_stand_in_the_order_in_which_they_make_sense(file: Path) -> None:
    assert load_policies(file)["careful"].describe() == (
        "TotalTimeout > Retry > ClientThrottle > CircuitBreaker > AdaptiveLimit > Bulkhead > "
        "Hedge > Timeout"
    )


def test_statistics_tell_layers_of_one_policy_apart(file: Path) -> None:
    kinds = ("Retry", "ClientThrottle", "CircuitBreaker", "AdaptiveLimit", "Bulkhead", "Hedge")
    assert list(load_policies(file)["careful"].statistics()) == [f"careful: {one}" for one in kinds]


def test_preset_is_the_series_of_two_eight_and_twenty_six_seconds(file: Path) -> None:
    schedule = load_policies(file)["patient"].explain().schedule
    assert [latest for _, _, latest in schedule] == [0, 2, 8, 26, 80]


def test_policy_of_a_name_is_one_for_each_destination(file: Path) -> None:
    policies = load_policies(file)
    assert policies["careful"] is policies["careful"]
    here = policies.of("careful")("http://stock:80")
    assert here is policies.of("careful")("http://stock:80")
    there = policies.of("careful")("http://bill:80")
    budgets = [
        layer.budget for one in (here, there) for layer in one.layers if isinstance(layer, Retry)
    ]
    assert len({id(budget) for budget in budgets}) == 2


def test_unknown_name_is_told_with_the_known_ones(file: Path) -> None:
    policies = load_policies(file)
    assert list(policies) == ["careful", "patient"]
    with pytest.raises(KeyError, match="the policies are: careful, patient"):
        policies["carefull"]


def test_fault_is_told_with_its_place(file: Path) -> None:
    file.write_text("policies:\n  a:\n    retry: {attempts: 0}\n")
    with pytest.raises(ConfigRefused, match=r"moreton.yaml:3:5"):
        load_policies(file)


def test_file_without_policies_has_none(file: Path) -> None:
    file.write_text("version: 1\n")
    assert len(load_policies(file)) == 0


def test_what_envoy_cannot_do_is_told() -> None:
    document = {
        "policies": {
            "plain": {
                "idempotent": True,
                "total_timeout": "5s",
                "retry": {"backoff": {"initial": "50ms"}},
            },
            "rich": {
                "retry": {"backoff": {"multiplier": 3.0, "jitter": "decorrelated"}},
                "breaker": {"slow_call": "1s"},
                "bulkhead": {"limit": 5, "queue": 5},
                "throttle": {},
                "adaptive": {},
            },
        }
    }
    models = PoliciesSection.model_validate(document).policies
    (only,) = inexpressible(models["plain"])
    assert only.startswith("retry.retry_after_max: Envoy reads seconds and no dates")
    told = " ".join(inexpressible(models["rich"]))
    words = ("multiplier 3", "decorrelated", "breaker:", "breaker.window 100", "breaker.slow_call")
    for word in (*words, "queue", "throttle", "adaptive"):
        assert word in told


def test_backoff_and_limits_are_those_of_the_file(file: Path) -> None:
    retry = next(
        layer for layer in load_policies(file)["careful"].layers if isinstance(layer, Retry)
    )
    assert retry.attempts == 4
    assert retry.idempotent
    assert retry.backoff.initial == timedelta(milliseconds=50)
    assert retry.backoff.multiplier == 3
