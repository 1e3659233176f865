"""An adapter for requests.

session = requests.Session()
session.mount("https://", ResilientAdapter(policy))
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, cast
from urllib.parse import urlsplit

from requests import ConnectionError as RequestsConnectionError
from requests import PreparedRequest, ReadTimeout, Response, Timeout
from requests.adapters import HTTPAdapter
from requests.adapters import TimeoutSauce as Limits  # type: ignore[attr-defined]  # urllib3's
from requests.utils import rewind_body

from moreton.resilience.clients.answers import (
    FAILURES,
    RETRY_ON,
    AnswerFailed,
    Answers,
    Verdicts,
    problem_of,
    tells_in_body,
)
from moreton.resilience.clients.exchange import (
    Destinations,
    Policies,
    add_fields,
    check_time,
    give_up,
    is_time_over,
    late,
    may_repeat,
    repeatable,
    seconds_left,
)
from moreton.resilience.clients.foreign import foreign


class ResilientAdapter(HTTPAdapter):
    """Sends requests under the policy of their destination.

    A request is sent again if its method is idempotent or it has an Idempotency-Key, within
    `context.idempotent()`, or when the adapter was made with *idempotent*; else only after errors
    that prove that nothing was sent. A body that is a file is wound back; one that cannot be is
    never sent again. Answers with a status in *retry_on* are tried again, those in *failures* count
    as failures for breakers; the last one is returned. What a layer raises is an error of requests,
    too. *settings* are those of `HTTPAdapter`.
    """

    def __init__(
        self,
        policies: Policies,
        *,
        idempotent: bool = False,
        retry_on: Iterable[int] = RETRY_ON,
        failures: Iterable[int] = FAILURES,
        **settings: Any,
    ) -> None:
        if settings.get("max_retries"):
            raise ValueError(
                f"max_retries is {settings['max_retries']!r}: urllib3 would repeat each attempt of "
                "the policy; leave it out, and give the policy a Retry"
            )
        super().__init__(**settings)
        self._destinations = Destinations(policies)
        self._verdicts = Verdicts(retry_on, failures)
        self._idempotent = idempotent

    def send(  # noqa: PLR0917 - the signature of requests
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - as above
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002 - as above
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send *request*; raises what requests raises, and `Refused` of a layer."""
        policy = self._destinations[_destination(request)]
        body = None if _replayable(request) else _OnceBody(request.body)
        answers = Answers(lambda answer: answer.close())
        sending = super().send

        def attempt() -> Response:
            answers.close_earlier()
            with self._attempt(request, body) as sent:
                answer = sending(sent, stream, _timeout(timeout), verify, cert, proxies)
                answers.keep(answer)
                if answer.status_code in self._verdicts.statuses:
                    raise self._failure(answer, stream=stream)
            return answer

        may = may_repeat(request.method or "", _headers(request), said=self._idempotent)
        with (
            repeatable(may=may),
            foreign(RequestsConnectionError, ReadTimeout, request=request, response=None),
        ):
            return cast("Response", answers.hand_on(policy, attempt))

    @contextlib.contextmanager
    def _attempt(
        self, request: PreparedRequest, body: _OnceBody | None
    ) -> Iterator[PreparedRequest]:
        """Around one attempt: what to send in place of *request*."""
        check_time()
        sent = request.copy()
        add_fields(_headers(sent))
        if body is not None:
            sent.body = cast("Any", body)
        elif _position(sent) is not None:
            rewind_body(sent)
        try:
            with repeatable(may=False):
                yield sent
        except Exception as error:
            given_up = late() if isinstance(error, Timeout) and is_time_over() else error
            if body is not None and body.touched:
                give_up(given_up)
            if given_up is error:
                raise
            raise given_up from error

    def _failure(self, answer: Response, *, stream: bool) -> AnswerFailed:
        problem = None
        # Who streams gets the body untouched.
        if not stream and tells_in_body(_headers(answer)):
            problem = problem_of(answer.content)
        return self._verdicts.failure(answer, answer.status_code, _headers(answer), problem)


class _OnceBody:
    """A body that cannot be read twice: an iterable, or a file that does not wind back."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self.touched = False

    def __iter__(self) -> Iterator[bytes]:
        self.touched = True
        yield from self._body

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._body, name)
        self.touched = self.touched or name == "read"
        return found


def _destination(request: PreparedRequest) -> str:
    url = urlsplit(request.url or "")
    return f"{url.scheme}://{url.hostname}:{url.port or {'http': 80, 'https': 443}.get(url.scheme)}"


def _headers(message: PreparedRequest | Response) -> MutableMapping[str, str]:
    return cast("MutableMapping[str, str]", message.headers)


def _replayable(request: PreparedRequest) -> bool:
    """Whether the body can be sent again; requests notes where a file began."""
    body: object = request.body  # the stubs know of no files
    return body is None or isinstance(body, str | bytes) or _position(request) is not None


def _position(request: PreparedRequest) -> int | None:
    position = getattr(request, "_body_position", None)
    return position if isinstance(position, int) else None


def _timeout(timeout: Any) -> Any:
    """The limits of *timeout*, and what is left for the attempt as a limit of the whole."""
    left = seconds_left()
    if left is None:
        return timeout
    if isinstance(timeout, Limits):
        total = timeout.total
        left = left if not isinstance(total, int | float) else min(left, total)
        return Limits(total=left, connect=timeout._connect, read=timeout._read)  # noqa: SLF001 - there is no other way to read them
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    return Limits(total=left, connect=connect, read=read)
