"""The transport that httpx and httpx2 share; they differ in the classes it must derive from."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any, ClassVar

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
    shorter,
)
from moreton.resilience.clients.foreign import foreign


class OnceStream:
    """A body that may not be readable twice; knows whether it was touched."""

    def __init__(self, stream: Any) -> None:
        self._inner = stream
        self.touched = False

    def __iter__(self) -> Iterator[bytes]:
        self.touched = True
        yield from self._inner

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.touched = True
        async for part in self._inner:
            yield part

    def close(self) -> None:
        """Close the body, if it can be."""
        with contextlib.suppress(AttributeError):
            self._inner.close()

    async def aclose(self) -> None:
        """Close the body, if it can be."""
        with contextlib.suppress(AttributeError):
            await self._inner.aclose()


class Transport:
    """Sends requests through *inner* under the policy of their destination.

    A request is sent again if its method is idempotent, it has an Idempotency-Key or the extension
    `{"idempotent": True}`, or within `context.idempotent()`; else only after errors that prove that
    nothing was sent; never once a body that cannot be read again was touched. Answers with a status
    in *retry_on* are tried again, those in *failures* count as failures for breakers; the last one
    is returned, as it would be without this transport. What a layer raises is an error of the
    library, too.

    The policy covers a request up to the answer's header fields: errors while its body is read are
    not retried, and only a pause in it is limited, to the time that the attempt had.
    """

    library: ClassVar[Any]
    once: ClassVar[type[OnceStream]]

    def __init__(
        self,
        policies: Policies,
        inner: Any = None,
        *,
        retry_on: Iterable[int] = RETRY_ON,
        failures: Iterable[int] = FAILURES,
    ) -> None:
        self._destinations = Destinations(policies)
        self._verdicts = Verdicts(retry_on, failures)
        self._inner = inner or self._default()

    def _default(self) -> Any:
        raise NotImplementedError

    @contextlib.contextmanager
    def _around(self, request: Any) -> Iterator[None]:
        """Around all attempts."""
        said = request.extensions.get("idempotent") is True
        library = self.library
        with (
            repeatable(may=may_repeat(request.method, request.headers, said=said)),
            foreign(library.TransportError, library.ReadTimeout, _request=request),
        ):
            yield

    @contextlib.contextmanager
    def _attempt(self, request: Any, body: OnceStream | None) -> Iterator[Any]:
        """Around one attempt: what to send in place of *request*."""
        check_time()
        sent = self.library.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=body or request.stream,
            extensions=request.extensions | {"timeout": _Limits(request.extensions.get("timeout"))},
        )
        add_fields(sent.headers)
        try:
            # What is called in this process decides about itself.
            with repeatable(may=False):
                yield sent
        except self.library.TimeoutException as error:
            given_up = late() if is_time_over() else error
            _look(body, given_up)
            if given_up is error:
                raise
            raise given_up from error
        except Exception as error:
            _look(body, error)
            raise

    def _body(self, request: Any) -> OnceStream | None:
        """The body of *request*, if it cannot be sent twice."""
        stream = request.stream
        files = [field.file for field in getattr(stream, "fields", ()) if hasattr(field, "file")]
        rewinds = all(isinstance(one, str | bytes) or _seekable(one) for one in files)
        kind = type(stream).__name__
        if kind == "ByteStream" or (kind == "MultipartStream" and rewinds):
            return None
        return self.once(stream)


class SyncTransport(Transport):
    """For a `Client`."""

    def handle_request(self, request: Any) -> Any:
        """Send *request*; raises what the library raises, and `Refused` of a layer."""
        policy = self._destinations[_destination(request)]
        body = self._body(request)
        answers = Answers(lambda answer: answer.close())

        def send() -> Any:
            answers.close_earlier()
            with self._attempt(request, body) as sent:
                answer = self._inner.handle_request(sent)
                answers.keep(answer)
                if answer.status_code in self._verdicts.statuses:
                    raise self._failure(answer)
            return answer

        with self._around(request):
            return answers.hand_on(policy, send)

    def _failure(self, answer: Any) -> AnswerFailed:
        problem = None
        if tells_in_body(answer.headers):
            with contextlib.closing(answer.stream) as stream:
                read = b"".join(stream)
            answer.stream = self.library.ByteStream(read)
            problem = problem_of(read)
        return self._verdicts.failure(answer, answer.status_code, answer.headers, problem)

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class AsyncTransport(Transport):
    """For an `AsyncClient`."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request*; raises what the library raises, and `Refused` of a layer."""
        policy = self._destinations[_destination(request)]
        body = self._body(request)
        answers = Answers(lambda answer: answer.aclose())

        async def send() -> Any:
            await answers.close_earlier_async()
            with self._attempt(request, body) as sent:
                answer = await self._inner.handle_async_request(sent)
                answers.keep(answer)
                if answer.status_code in self._verdicts.statuses:
                    raise await self._failure(answer)
            return answer

        with self._around(request):
            return await answers.hand_on_async(policy, send)

    async def _failure(self, answer: Any) -> AnswerFailed:
        problem = None
        if tells_in_body(answer.headers):
            async with contextlib.aclosing(answer.stream) as stream:
                read = b"".join([part async for part in stream])
            answer.stream = self.library.ByteStream(read)
            problem = problem_of(read)
        return self._verdicts.failure(answer, answer.status_code, answer.headers, problem)

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


class _Limits(dict[str, float | None]):
    """The time limits of httpcore, which asks for each of them when a step begins."""

    def __init__(self, own: Mapping[str, float | None] | None) -> None:
        super().__init__(own or {})
        self._attempt = seconds_left()

    def get(self, kind: str, default: Any = None) -> Any:
        """The limit of *kind*: what is left now, and never more than the attempt had.

        So no pause in the answer's body is longer than that, when the attempt is over.
        """
        limits = [one for one in (super().get(kind, default), self._attempt) if one is not None]
        return shorter(min(limits, default=None))


def _look(body: OnceStream | None, error: Exception) -> None:
    """Forbid another attempt after *error*, when there is nothing left to send."""
    if body is not None and body.touched:
        give_up(error)


def _seekable(file: Any) -> bool:
    try:
        return bool(file.seekable())
    except AttributeError:
        return False


def _destination(request: Any) -> str:
    url = request.url
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return f"{url.scheme}://{url.host}:{port}"
