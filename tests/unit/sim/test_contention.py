"""The AWS article's findings about back-off hold for ours; its simulation is repeatable."""

from __future__ import annotations

import pytest

from moreton.sim.contention import STRATEGIES, ContentionResult, compare, contend, contend_often

CLIENTS = 100
SEEDS = range(10)


@pytest.fixture(scope="module")
def hundred() -> dict[str, ContentionResult]:
    return {name: results[0] for name, results in compare([CLIENTS], seeds=SEEDS).items()}


@pytest.mark.slow
def test_full_jitter_needs_at_most_45_percent_of_the_calls_of_plain_exponential(
    hundred: dict[str, ContentionResult],
) -> None:
    assert hundred["full jitter"].calls <= 0.45 * hundred["exponential"].calls


def test_full_jitter_needs_at_most_10_percent_of_the_time_of_plain_exponential(
    hundred: dict[str, ContentionResult],
) -> None:
    assert hundred["full jitter"].seconds <= 0.10 * hundred["exponential"].seconds


def test_jitters_rank_by_calls_as_in_the_article(hundred: dict[str, ContentionResult]) -> None:
    calls = {name: result.calls for name, result in hundred.items()}
    assert sorted(calls, key=calls.__getitem__) == [
        "full jitter",
        "equal jitter",
        "decorrelated jitter",
        "exponential",
        "none",
    ]


@pytest.mark.parametrize(
    ("name", "calls", "seconds"),
    [
        ("none", 2432, 2.0),
        ("exponential", 1856, 63.3),
        ("equal jitter", 812, 6.7),
        ("full jitter", 796, 5.0),
        ("decorrelated jitter", 1000, 4.6),
    ],
)
def test_results_are_those_of_the_articles_own_simulator(
    hundred: dict[str, ContentionResult], name: str, calls: float, seconds: float
) -> None:
    # Means of 20 runs of aws-samples/aws-arch-backoff-simulator with the same settings.
    assert hundred[name].calls == pytest.approx(calls, rel=0.05)
    assert hundred[name].seconds == pytest.approx(seconds, rel=0.10)


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_client_alone_needs_one_call(name: str) -> None:
    result = contend(1, STRATEGIES[name], seed=3)
    assert result.calls == 1
    assert 0.02 < result.seconds < 0.08  # four ways through a network of 10 ms


def test_every_client_succeeds_in_the_end() -> None:
    # Nobody's write counts twice: two clients need two calls at the least, and both end.
    assert contend(2, STRATEGIES["full jitter"], seed=1).calls >= 2


def test_a_seed_repeats_a_run() -> None:
    backoff = STRATEGIES["full jitter"]
    assert contend(20, backoff, seed=5) == contend(20, backoff, seed=5)
    assert contend(20, backoff, seed=5) != contend(20, backoff, seed=6)


def test_contend_often_is_the_mean_of_its_seeds() -> None:
    backoff = STRATEGIES["none"]
    one, other = contend(5, backoff, seed=1), contend(5, backoff, seed=2)
    both = contend_often(5, backoff, seeds=[1, 2])
    assert both.calls == (one.calls + other.calls) / 2
    assert both.seconds == pytest.approx((one.seconds + other.seconds) / 2)


def test_no_client_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="clients is 0"):
        contend(0, None)
