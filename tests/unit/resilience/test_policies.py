"""What a policy says of itself, and the parts that answer in place of a call."""

from __future__ import annotations

import functools
from datetime import timedelta
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError

import httpx
import pytest

from moreton.resilience import (
    AdaptiveLimit,
    Backoff,
    Bulkhead,
    CircuitBreaker,
    ClientThrottle,
    Fallback,
    Hedge,
    Policy,
    Retry,
    Timeout,
    TotalTimeout,
)
from moreton.resilience.context import criticality
from moreton.resilience.core.headers import Criticality
from moreton.resilience.core.limits import Vegas
from moreton.resilience.errors import (
    BulkheadFull,
    CircuitOpen,
    DeadlineExceeded,
    LimitReached,
    Throttled,
)
from moreton.resilience.events import Event, FellBack, listening, subscribe, unsubscribe
from moreton.resilience.sent import asked_of, is_transient, proves_unsent
from moreton.testing import VirtualTiming, seeded_rng

SECOND = timedelta(seconds=1)


def test_explain_prints_the_schedule_the_load_and_what_the_layers_do() -> None:
    policy = Policy(
        TotalTimeout(60 * SECOND), Retry(attempts=5, backoff=Backoff.patient()), Timeout(SECOND)
    )
    told = policy.explain()
    assert [row[0] for row in told.schedule] == [0, 2, 8, 26]  # the fifth would begin too late
    assert told.requests_max == 5
    assert told.load == pytest.approx(1.2)
    text = str(told)
    for words in (
        "TotalTimeout  the call with all its retries ends within 1m",
        "attempt  earliest      mean    latest",
        "      4   26.00 s   26.00 s   26.00 s",
        "one call makes at most 5 requests",
        "at most 1.20 times",
    ):
        assert words in text


def test_explain_tells_what_retries_without_a_budget_and_hedges_multiply() -> None:
    told = Policy(Retry(attempts=4, budget=None), Hedge(SECOND, idempotent=True, hedges=2))
    assert told.explain().requests_max == 12
    assert told.explain().load == pytest.approx(4 * 1.1)
    assert Policy(Bulkhead(1)).explain().load == 1
    assert "schedule" not in str(Policy(Bulkhead(1)).explain())


def test_explain_shortens_a_long_schedule() -> None:
    assert "... 50 attempts in all" in str(Policy(Retry(attempts=50)).explain())


def test_every_layer_describes_itself_in_one_line() -> None:
    layers = [
        Fallback(None),
        TotalTimeout(SECOND),
        ClientThrottle(),
        Retry(budget=None),
        CircuitBreaker(),
        AdaptiveLimit(Vegas()),
        Bulkhead(1, queue=3),
        Bulkhead(1),
        Hedge(SECOND / 4, idempotent=True),
        Timeout(SECOND / 2),
    ]
    for layer in layers:
        assert layer.describe()
        assert "\n" not in layer.describe()
    policy = Policy(*layers)
    assert policy.describe().startswith("Fallback > TotalTimeout > ClientThrottle > Retry")
    assert set(policy.statistics()) == {
        *("fallback", "throttle", "breaker", "adaptive limit", "hedge"),
        *("bulkhead: Bulkhead", "bulkhead: Bulkhead 2"),
    }


def test_a_decorated_function_keeps_its_name_and_documentation() -> None:
    @Policy(Retry())
    def stock() -> int:
        """How many there are."""
        return 1

    assert (stock.__name__, stock.__doc__) == ("stock", "How many there are.")


async def test_partial_functions_and_methods_are_what_they_wrap() -> None:
    class Shop:
        async def stock(self, article: str) -> int:
            return len(article)

    policy = Policy(Retry(), Bulkhead(1))
    assert await policy.call(Shop().stock, "fig") == 3
    assert await policy(functools.partial(Shop().stock, "fig"))() == 3
    assert await policy.call(functools.partial(Shop().stock, "fig")) == 3


async def test_a_fallback_answers_when_the_destination_cannot() -> None:
    def lost() -> str:
        raise ConnectionResetError

    async def lost_async() -> str:
        raise DeadlineExceeded

    async def other(error: Exception) -> str:
        return type(error).__name__

    fallback = Fallback("cached")
    heard: list[Event] = []
    with listening(heard.append):
        assert Policy(fallback).call(lost) == "cached"
    assert isinstance(heard[0], FellBack)
    assert await Policy(Fallback(other)).call(lost_async) == "DeadlineExceeded"
    assert await Policy(fallback).call(lost_async) == "cached"
    assert Policy(Fallback(lambda error: type(error).__name__)).call(lost) == "ConnectionResetError"
    assert fallback.statistics() == 2


@pytest.mark.parametrize("kinds", [KeyError, (KeyError, OSError), lambda e: e.args == (1,)])
def test_a_fallback_hides_no_fault_that_one_did_not_name(kinds: type[Exception]) -> None:
    def wrong(error: Exception) -> str:
        raise error

    fallback = Policy(Fallback("cached", on=kinds))
    assert fallback.call(wrong, KeyError(1)) == "cached"
    with pytest.raises(ValueError, match="2"):
        fallback.call(wrong, ValueError(2))
    with pytest.raises(KeyError):
        Policy(Fallback("cached")).call(wrong, KeyError(1))


def test_the_least_critical_calls_are_refused_first() -> None:
    limit = AdaptiveLimit(Vegas(10, 10, 10), timing=VirtualTiming())
    entered: list[tuple[float, int]] = []
    for level, share in (
        (Criticality.SHEDDABLE, 6),
        (Criticality.SHEDDABLE_PLUS, 8),
        (Criticality.CRITICAL, 9),
        (Criticality.CRITICAL_PLUS, 10),
    ):
        with criticality(level):
            while len(entered) < share:
                entered.append(limit.enter())
            with pytest.raises(LimitReached, match=f"{share} calls are under way"):
                limit.enter()
    for one in entered:
        limit.leave(one, None)
    assert limit.statistics().under_way == 0
    assert limit.statistics().refused_total == 4


def test_a_throttle_holds_calls_back_and_counts_its_own_as_no_refusals() -> None:
    timing = VirtualTiming()
    throttle = ClientThrottle(window=10 * SECOND, timing=timing, rng=seeded_rng(1))

    def overloaded() -> None:
        raise TimeoutError

    held = 0
    for _ in range(100):
        try:
            Policy(throttle).call(overloaded)
        except Throttled:
            held += 1
        except TimeoutError:
            pass
    assert 80 < held < 100
    told = throttle.statistics()
    assert (told.requests, told.accepts, told.refused_total) == (100, 0, held)


REQUEST = httpx.Request("GET", "http://stock")


def answered(status: int) -> httpx.HTTPStatusError:
    answer = httpx.Response(status, request=REQUEST)
    return httpx.HTTPStatusError("no", request=REQUEST, response=answer)


@pytest.mark.parametrize(
    ("error", "transient", "unsent"),
    [
        (ConnectionRefusedError(), True, True),
        (ConnectionResetError(), True, False),
        (TimeoutError(), True, False),
        (DeadlineExceeded(), True, False),
        (CircuitOpen("a", 1.0), False, True),
        (BulkheadFull("full"), False, True),
        (httpx.ConnectError("no", request=REQUEST), True, True),
        (httpx.ConnectTimeout("no", request=REQUEST), True, True),
        (httpx.PoolTimeout("no", request=REQUEST), True, True),
        (httpx.ReadTimeout("no", request=REQUEST), True, False),
        (httpx.RemoteProtocolError("no", request=REQUEST), True, False),
        (httpx.InvalidURL("no"), False, False),
        (httpx.UnsupportedProtocol("no", request=REQUEST), False, False),
        (answered(503), True, False),
        (answered(429), True, False),
        (answered(404), False, False),
        (answered(500), False, False),
        (HTTPError("http://stock", 503, "busy", Message(), None), True, False),
        (HTTPError("http://stock", 404, "none", Message(), None), False, False),
        (URLError(ConnectionRefusedError()), True, True),
        (URLError("unknown url type"), False, False),
        (KeyError(), False, False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_an_error_tells_whether_to_try_again_and_whether_it_was_sent(
    error: Exception, *, transient: bool, unsent: bool
) -> None:
    assert is_transient(error) == transient
    assert proves_unsent(error) == unsent


def test_an_error_tells_what_its_answer_asks_for() -> None:
    headers = {"Retry-After": "7", "x-moreton-retry": "never"}
    answer = httpx.Response(503, headers=headers, request=REQUEST)
    error = httpx.HTTPStatusError("no", request=REQUEST, response=answer)
    assert asked_of(error) == (7, True)
    assert asked_of(KeyError()) == (0, False)


def test_a_listener_is_a_function() -> None:
    with pytest.raises(TypeError, match="listener is 3: give a function"):
        subscribe(3)  # type: ignore[arg-type]


def test_a_layer_shows_what_it_does() -> None:
    assert repr(Bulkhead(3, name="stock")) == (
        '<Bulkhead "stock": at most 3 calls at a time, others are refused>'
    )


def test_a_listener_that_fails_spoils_no_call(caplog: pytest.LogCaptureFixture) -> None:
    def wrong(_: Event) -> None:
        raise KeyError

    subscribe(wrong)
    try:
        assert Policy(Fallback(b"", on=OSError)).call(Path("/nowhere/at/all").read_bytes) == b""
    finally:
        unsubscribe(wrong)
    assert "a listener failed" in caplog.text
    unsubscribe(wrong)  # nothing, as it does not listen
