"""A call to something that fails sometimes: tried again in time, and not at any price."""

from collections.abc import Iterator
from datetime import timedelta

from moreton.resilience import Backoff, CircuitBreaker, Policy, Retry, Timeout, TotalTimeout

policy = Policy(
    TotalTimeout(timedelta(seconds=5)),
    Retry(
        attempts=4,
        idempotent=True,
        backoff=Backoff(initial=timedelta(milliseconds=20)),
        name="stock",
    ),
    CircuitBreaker(name="stock"),
    Timeout(timedelta(seconds=1)),
)
answers: Iterator[Exception | int] = iter(
    [ConnectionResetError("the line is bad"), TimeoutError("no answer"), 42]
)


@policy
def stock(article: str) -> int:
    """How many of *article* there are."""
    answer = next(answers)
    print(f"asked for {article}: {answer!r}")
    if isinstance(answer, Exception):
        raise answer
    return answer


print(policy.explain())
print()
print("in stock:", stock("umbrella"))
