"""Retries in virtual time: how often, after what, and what ends them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.resilience import Backoff, CircuitBreaker, Policy, Retry, RetryBudget, TotalTimeout
from moreton.resilience.context import Inbound, attempt_var, inbound_var
from moreton.resilience.events import Event, RetryScheduled, RetryStopped, listening
from moreton.resilience.layers.layer import Layer
from moreton.testing import VirtualTiming

SECOND = timedelta(seconds=1)
Make = Callable[..., "Subject"]


class Subject:
    """A function that fails as it is told, called under layers; sync or async."""

    def __init__(
        self, timing: VirtualTiming, *errors: BaseException | None, is_async: bool
    ) -> None:
        self.timing = timing
        self.errors = list(errors)
        self.is_async = is_async
        self.begun: list[float] = []
        self.attempts: list[int] = []

    def work(self) -> str:
        self.begun.append(self.timing.now())
        self.attempts.append(attempt_var.get())
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return "done"

    async def work_async(self) -> str:
        return self.work()

    async def run(self, *layers: Layer) -> str:
        policy = Policy(*layers)
        if self.is_async:
            return await policy.call(self.work_async)
        return policy.call(self.work)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def subject(request: pytest.FixtureRequest) -> Callable[..., Subject]:
    timing = VirtualTiming()
    return lambda *errors: Subject(timing, *errors, is_async=request.param)


def lost(count: int) -> list[ConnectionResetError]:
    return [ConnectionResetError(number) for number in range(count)]


def retry(subject: Subject, **settings: Any) -> Retry:
    usual: dict[str, Any] = {"idempotent": True, "backoff": Backoff.patient(), "budget": None}
    settings = usual | settings
    return Retry(timing=subject.timing, rng=seeded_rng(1), **settings)


async def test_the_patient_series_begins_at_0_2_8_26_and_80_seconds(subject: Make) -> None:
    one = subject(*lost(4))
    assert await one.run(retry(one, attempts=5)) == "done"
    assert one.begun == [0, 2, 8, 26, 80]
    assert one.attempts == [1, 2, 3, 4, 5]
    assert attempt_var.get() == 1


async def test_the_last_error_comes_out_with_a_note_of_why(subject: Make) -> None:
    one = subject(*lost(9))
    with pytest.raises(ConnectionResetError, match="2") as caught:
        await one.run(retry(one, attempts=3, name="stock"))
    assert len(one.begun) == 3
    assert any("stock" in note and "attempts" in note for note in caught.value.__notes__)


async def test_an_error_of_another_kind_is_raised_at_once_as_it_came(subject: Make) -> None:
    one = subject(KeyError("bug"))
    with pytest.raises(KeyError) as caught:
        await one.run(retry(one))
    assert len(one.begun) == 1
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(), GeneratorExit()])
async def test_what_ends_programs_is_never_retried(subject: Make, error: BaseException) -> None:
    one = subject(error)
    with pytest.raises(type(error)):
        await one.run(retry(one, on=lambda _: True))
    assert len(one.begun) == 1


async def test_what_may_have_been_sent_is_not_repeated_unless_that_is_safe(subject: Make) -> None:
    one = subject(*lost(1))
    with pytest.raises(ConnectionResetError) as caught:
        await one.run(retry(one, idempotent=False))
    assert any("may-have-been-sent" in note for note in caught.value.__notes__)


async def test_what_was_surely_not_sent_is_repeated(subject: Make) -> None:
    one = subject(ConnectionRefusedError())
    assert await one.run(retry(one, idempotent=False)) == "done"


@pytest.mark.parametrize("kinds", [OSError, (KeyError, OSError), lambda e: isinstance(e, OSError)])
async def test_on_is_a_type_several_or_a_predicate(subject: Make, kinds: Any) -> None:
    one = subject(OSError("disk"))
    assert await one.run(retry(one, on=kinds)) == "done"


class Answered(ConnectionError):
    """An error that carries the fields of an answer, as clients raise it."""

    def __init__(self, **fields: str) -> None:
        super().__init__()
        self.headers = {name.replace("_", "-"): value for name, value in fields.items()}


async def test_what_a_server_asks_for_is_a_floor(subject: Make) -> None:
    one = subject(Answered(retry_after="30"), Answered(retry_after="1"))
    await one.run(retry(one))
    assert one.timing.waits == [30, 6]  # a second is less than the series waits anyway


async def test_what_a_server_asks_for_is_capped(subject: Make) -> None:
    one = subject(Answered(retry_after="86400"))
    await one.run(retry(one, retry_after_max=10 * SECOND))
    assert one.timing.waits == [10]


async def test_jitter_comes_on_top_of_what_a_server_asks_for(subject: Make) -> None:
    one = subject(*[Answered(retry_after="30") for _ in range(5)])
    await one.run(retry(one, attempts=6, backoff=Backoff(initial=SECOND)))
    assert all(30 <= wait <= 46 for wait in one.timing.waits)
    assert len(set(one.timing.waits)) == 5


@pytest.mark.parametrize("value", ["soon", "-1", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_a_malformed_or_past_retry_after_leaves_the_back_off(
    subject: Make, value: str
) -> None:
    one = subject(Answered(retry_after=value))
    await one.run(retry(one))
    assert one.timing.waits == [2]


async def test_an_answer_that_says_never_is_not_retried(subject: Make) -> None:
    one = subject(Answered(x_moreton_retry="never"))
    with pytest.raises(Answered) as caught:
        await one.run(retry(one))
    assert any("told-not-to" in note for note in caught.value.__notes__)


async def test_a_wait_that_reaches_the_deadline_is_not_begun(subject: Make) -> None:
    one = subject(*lost(9))
    total = TotalTimeout(8 * SECOND, timing=one.timing)
    with pytest.raises(ConnectionResetError) as caught:
        await one.run(total, retry(one, attempts=9))
    assert one.begun == [0, 2]  # the third would begin at 8, when the time is over
    assert any("deadline" in note for note in caught.value.__notes__)


async def test_a_budget_bounds_the_retries_of_all_calls(subject: Make) -> None:
    one = subject(*lost(200))
    budget = RetryBudget(0.2, per_second=3, timing=one.timing)
    layer = retry(one, attempts=2, budget=budget, backoff=Backoff.constant(SECOND / 1000))
    for _ in range(100):
        with pytest.raises(ConnectionResetError):
            await one.run(layer)
    assert len(one.begun) == 130
    assert budget.statistics().retries == 30
    assert budget.statistics().refused_total == 70


async def test_policies_may_share_a_budget(subject: Make) -> None:
    one = subject(*lost(200))
    budget = RetryBudget(0.2, per_second=0.1, timing=one.timing)
    first, second = (retry(one, attempts=2, budget=budget) for _ in range(2))
    for layer in (first, second):
        with pytest.raises(ConnectionResetError):
            await one.run(layer)
    assert budget.statistics().calls == 2
    assert len(one.begun) == 3


async def test_a_call_given_up_while_answering_tells_who_asked(subject: Make) -> None:
    one = subject(*lost(9))
    inbound = Inbound()
    token = inbound_var.set(inbound)
    with pytest.raises(ConnectionResetError):
        await one.run(retry(one))
    inbound_var.reset(token)
    assert inbound.exhausted


async def test_listeners_hear_of_every_retry_and_of_the_end(subject: Make) -> None:
    one = subject(*lost(9))
    heard: list[Event] = []
    with listening(heard.append), pytest.raises(ConnectionResetError):
        await one.run(retry(one, attempts=3))
    kinds = [type(event) for event in heard]
    assert kinds == [RetryScheduled, RetryScheduled, RetryStopped]
    assert [event.delay for event in heard if isinstance(event, RetryScheduled)] == [2, 6]


async def test_an_open_breaker_within_ends_the_retries(subject: Make) -> None:
    one = subject(*lost(9))
    breaker = CircuitBreaker(timing=one.timing)
    breaker.open()
    with pytest.raises(Exception, match="is open"):
        await one.run(retry(one), breaker)
    assert not one.begun
    assert not one.timing.waits
