"""Answers of a destination: which are failures, and what they say about trying again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from moreton.kernel.arguments import check_kind, check_whole
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.resilience.context import attempt_var
from moreton.resilience.core import headers as fields
from moreton.resilience.core.retrying import RETRIABLE_STATUSES
from moreton.resilience.policy import Policy

RETRY_ON = RETRIABLE_STATUSES
# A destination that limits its callers is not down: its breaker stays closed.
FAILURES = RETRY_ON - {429}
PROBLEM = "application/problem+json"
PROBLEM_BYTES_MAX = 64 * 1024


class AnswerFailed(MoretonError):
    """An answer counts as a failure by its status; the client hands it on if it is the last one.

    *response* is the library's own, *headers* are its header fields and *problem* is its parsed
    body, where that may say when to return.
    """

    code = "answer-failed"
    retry = RetryAdvice.AFTER

    def __init__(
        self, response: Any, status: int, headers: Mapping[str, str], problem: object = None
    ) -> None:
        super().__init__(f"the destination answered {status}: it could not serve the request")
        self.response = response
        self.status = status
        self.headers = headers
        self.problem = problem
        self.moreton_final = _proxy_retried(headers)
        self.moreton_failure = True  # read by breakers


class AnswerFinal(AnswerFailed):
    """An answer that counts as a failure for breakers, but is not to be tried again."""

    code = "answer-final"
    retry = RetryAdvice.NEVER


class Verdicts:
    """Which statuses are tried again, and which count as failures for breakers."""

    def __init__(self, retry_on: Iterable[int], failures: Iterable[int]) -> None:
        self._retry_on = _statuses("retry_on", retry_on)
        self._failures = _statuses("failures", failures)
        self.statuses = self._retry_on | self._failures

    def failure(
        self, response: Any, status: int, headers: Mapping[str, str], problem: object = None
    ) -> AnswerFailed:
        """The error that an answer with a *status* of `statuses` stands for."""
        kind = AnswerFailed if status in self._retry_on else AnswerFinal
        failed = kind(response, status, headers, problem)
        failed.moreton_failure = status in self._failures
        return failed


def _statuses(name: str, statuses: Iterable[int]) -> frozenset[int]:
    check_kind(name, statuses, Iterable, "statuses, as {502, 503}")
    found = frozenset(statuses)
    for one in found:
        check_whole(f"a status in {name}", one, 100, 599)
    return found


class Answers:
    """What the attempts of one request were answered: all but the one handed on are closed.

    A hedged request has several at once. *close* closes one, or returns what is to be awaited for
    it.
    """

    def __init__(self, close: Callable[[Any], Any]) -> None:
        self._close = close
        self._kept: list[tuple[int, Any]] = []

    def hand_on(self, policy: Policy, send: Callable[[], Any]) -> Any:
        """Send under *policy*; the last answer, also if it counts as a failure."""
        handed_on = None
        try:
            handed_on = policy.call(send)
        except AnswerFailed as failed:
            handed_on = failed.response
        finally:
            self._close_all(self._others(handed_on))
        return handed_on

    async def hand_on_async(self, policy: Policy, send: Callable[[], Awaitable[Any]]) -> Any:
        """As `hand_on`."""
        handed_on = None
        try:
            handed_on = await policy.call(send)
        except AnswerFailed as failed:
            handed_on = failed.response
        finally:
            try:
                await self._close_all_async(self._others(handed_on))
            except BaseException:
                # Cancelled meanwhile: nobody gets the one that was to be handed on.
                if handed_on is not None:
                    await self._close_all_async([handed_on])
                raise
        return handed_on

    def keep(self, answer: Any) -> None:
        """An attempt got *answer*."""
        self._kept.append((attempt_var.get(), answer))

    def close_earlier(self) -> None:
        """Close the answers to earlier attempts, before the next one."""
        self._close_all(self._earlier())

    async def close_earlier_async(self) -> None:
        """As `close_earlier`."""
        await self._close_all_async(self._earlier())

    def _earlier(self) -> list[Any]:
        now = attempt_var.get()
        earlier = [answer for number, answer in self._kept if number != now]
        self._kept = [one for one in self._kept if one[0] == now]
        return earlier

    def _others(self, handed_on: Any) -> list[Any]:
        return [answer for _, answer in self._kept if answer is not handed_on]

    def _close_all(self, answers: Iterable[Any]) -> None:
        for answer in answers:
            self._close(answer)

    async def _close_all_async(self, answers: Iterable[Any]) -> None:
        for answer in answers:
            closing = self._close(answer)
            if closing is not None:
                await closing


def tells_in_body(headers: Mapping[str, str]) -> bool:
    """Whether only the body says when to return: a problem document, small enough to be read."""
    length = headers.get("content-length", "")
    return (
        "retry-after" not in headers
        and headers.get("content-type", "").split(";")[0].strip().lower() == PROBLEM
        and "content-encoding" not in headers
        and length.isascii()
        and length.isdigit()
        and len(length) <= len(str(PROBLEM_BYTES_MAX))
        and int(length) <= PROBLEM_BYTES_MAX
    )


def problem_of(body: bytes) -> object:
    """The problem document *body*; `None` when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _proxy_retried(headers: Mapping[str, str]) -> bool:
    """Whether a proxy in between tried again already, and so the SDK must not."""
    for name in (fields.GATEWAY_ATTEMPTS, fields.ENVOY_ATTEMPT):
        count = headers.get(name, "")
        if count.isascii() and count.isdigit() and count not in {"0", "1"}:
            return True
    return False
