"""Retries, breakers and time limits hold through each HTTP client, against a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from moreton.resilience import (
    Backoff,
    BreakerPolicy,
    CircuitBreaker,
    Policy,
    Retry,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.errors import CircuitOpen
from moreton.resilience.events import Event, RetryScheduled, listening
from support.flaky import HANG, RESET, Answer, FlakyServer
from support.ports import free_port
from support.resilient_clients import BREAKS, CLIENTS

pytestmark = pytest.mark.e2e
BUSY = Answer(503, body=b"busy")
SOON = Backoff.constant(timedelta(milliseconds=1))
Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture
def server() -> Iterator[FlakyServer]:
    with FlakyServer() as made:
        yield made


@pytest.fixture(params=CLIENTS)
def ask(request: pytest.FixtureRequest) -> Ask:
    return CLIENTS[request.param]


def retrying(attempts: int = 3, *inner: Any) -> Policy:
    return Policy(
        TotalTimeout(timedelta(seconds=20)), Retry(attempts=attempts, backoff=SOON), *inner
    )


def test_get_is_tried_again_until_it_is_served(ask: Ask, server: FlakyServer) -> None:
    server.will(BUSY, RESET)
    assert ask(retrying(), "GET", server.url) == (200, b"well")
    assert [one.headers["x-moreton-attempt"] for one in server.seen] == ["1", "2", "3"]


def test_last_answer_is_returned_when_attempts_run_out(ask: Ask, server: FlakyServer) -> None:
    server.will(BUSY, BUSY, BUSY)
    assert ask(retrying(), "GET", server.url) == (503, b"busy")
    assert len(server.seen) == 3


def test_answer_of_the_application_is_not_tried_again(ask: Ask, server: FlakyServer) -> None:
    server.will(Answer(500, body=b"a bug"))
    assert ask(retrying(), "GET", server.url) == (500, b"a bug")
    assert len(server.seen) == 1


def test_post_is_made_once(ask: Ask, server: FlakyServer) -> None:
    server.will(BUSY)
    assert ask(retrying(), "POST", server.url, b"pay") == (503, b"busy")
    server.will(RESET)
    with pytest.raises(BREAKS) as caught:
        ask(retrying(), "POST", server.url, b"pay")
    assert "may-have-been-sent" in "".join(_notes(caught.value))
    assert len(server.seen) == 2


def test_post_with_a_key_is_tried_again(ask: Ask, server: FlakyServer) -> None:
    server.will(BUSY, RESET)
    found = ask(retrying(), "POST", server.url, b"pay", **{"Idempotency-Key": "k1"})
    assert found == (200, b"well")
    assert [one.body for one in server.seen] == [b"pay"] * 3


def test_post_that_was_not_sent_is_tried_again(ask: Ask) -> None:
    events: list[Event] = []
    with listening(events.append), pytest.raises(BREAKS):
        ask(retrying(), "POST", f"http://127.0.0.1:{free_port()}/", b"pay")
    assert sum(isinstance(event, RetryScheduled) for event in events) == 2


def test_body_that_was_consumed_is_not_sent_again(ask: Ask, server: FlakyServer) -> None:
    server.will(BUSY)
    assert ask(retrying(), "PUT", server.url, [b"one", b"two"]) == (503, b"busy")
    server.will(RESET)
    with pytest.raises(BREAKS) as caught:
        ask(retrying(), "PUT", server.url, [b"one", b"two"])
    assert "consumed" in "".join(_notes(caught.value))
    assert [one.body for one in server.seen] == [b"onetwo"] * 2


def test_attempt_ends_in_its_time_and_is_tried_again(ask: Ask, server: FlakyServer) -> None:
    server.will(HANG)
    policy = retrying(3, Timeout(timedelta(milliseconds=300)))
    assert ask(policy, "GET", server.url) == (200, b"well")
    limits = [int(one.headers["x-moreton-timeout-ms"]) for one in server.seen]
    assert len(limits) == 2
    assert all(0 < limit <= 300 for limit in limits)


def test_open_breaker_keeps_requests_away(ask: Ask, server: FlakyServer) -> None:
    breaker = CircuitBreaker(BreakerPolicy(minimum_calls=2))
    server.will(BUSY, BUSY)
    for _ in range(2):
        ask(Policy(breaker), "GET", server.url)
    with pytest.raises(CircuitOpen):
        ask(Policy(breaker), "GET", server.url)
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    "field", [("x-moreton-retry", "never"), ("x-envoy-attempt-count", "2"), ("Retry-After", "3600")]
)
def test_answer_says_that_there_is_no_use(
    ask: Ask, server: FlakyServer, field: tuple[str, str]
) -> None:
    server.will(Answer(503, (field,), b"busy"))
    assert ask(retrying(), "GET", server.url) == (503, b"busy")
    assert len(server.seen) == 1


def test_answer_that_breaks_off_reaches_the_reader(ask: Ask, server: FlakyServer) -> None:
    server.will(Answer(body=b"a long story", cut=True))
    with pytest.raises(BREAKS):
        ask(retrying(), "GET", server.url)
    assert len(server.seen) == 1


def _notes(error: BaseException | None) -> list[str]:
    """The notes of *error* and of what caused it: libraries wrap errors in their own."""
    found: list[str] = []
    while error is not None:
        found += getattr(error, "__notes__", [])
        error = error.__cause__ or error.__context__
    return found
