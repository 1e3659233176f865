"""The transport that httpx and httpx2 share; they differ in the classes it must derive from."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, ClassVar

from moreton.resilience.clients.exchange import (
    FAILURES,
    AnswerFailed,
    Destinations,
    Policies,
    add_fields,
    give_up,
    may_repeat,
    repeatable,
    shorter,
)


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


class _Transport:
    """Sends requests through *inner* under the policy of their destination.

    A request is sent again if its method is idempotent, it has an Idempotency-Key or the extension
    `{"idempotent": True}`; else only after errors that prove that nothing was sent; never once a
    body that cannot be read again was touched. Answers with a status in *failures* count as
    failures; the last one is returned, as it would be without this transport. The policy covers a
    request up to the answer's header fields: errors while its body is read are not retried.
    """

    once: ClassVar[type[OnceStream]]

    def __init__(
        self, policies: Policies, inner: Any = None, *, failures: Iterable[int] = FAILURES
    ) -> None:
        self._destinations = Destinations(policies, failures)
        self._inner = inner or self._default()

    def _default(self) -> Any:
        raise NotImplementedError

    def _watched(self, request: Any) -> OnceStream | None:
        """The body of *request*, if it cannot be sent twice."""
        stream = request.stream
        if isinstance(stream, OnceStream):
            return stream
        kind = type(stream).__name__
        files = [field.file for field in getattr(stream, "fields", ()) if hasattr(field, "file")]
        rewinds = all(isinstance(one, str | bytes) or _seekable(one) for one in files)
        if kind == "ByteStream" or (kind == "MultipartStream" and rewinds):
            return None
        request.stream = self.once(stream)
        return request.stream  # type: ignore[no-any-return]


class SyncTransport(_Transport):
    """For a `Client`."""

    def handle_request(self, request: Any) -> Any:
        """Send *request*; raises what the library raises, and `Refused` of a layer."""
        policy = self._destinations[_destination(request)]
        body = self._watched(request)
        last: Any = None

        def send() -> Any:
            nonlocal last
            if last is not None:
                last.close()
                last = None
            _prepare(request)
            try:
                last = self._inner.handle_request(request)
                self._destinations.check(last, last.status_code, last.headers)
            except Exception as error:
                _look(body, error)
                raise
            return last

        with repeatable(may=_may_repeat(request)):
            try:
                return policy.call(send)
            except AnswerFailed as failed:
                return failed.response
            except BaseException:
                if last is not None:
                    last.close()
                raise

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class AsyncTransport(_Transport):
    """For an `AsyncClient`."""

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request*; raises what the library raises, and `Refused` of a layer."""
        policy = self._destinations[_destination(request)]
        body = self._watched(request)
        last: Any = None

        async def send() -> Any:
            nonlocal last
            if last is not None:
                await last.aclose()
                last = None
            _prepare(request)
            try:
                last = answer = await self._inner.handle_async_request(request)
                self._destinations.check(answer, answer.status_code, answer.headers)
            except Exception as error:
                _look(body, error)
                raise
            return answer

        with repeatable(may=_may_repeat(request)):
            try:
                return await policy.call(send)
            except AnswerFailed as failed:
                return failed.response
            except BaseException:
                if last is not None:
                    await last.aclose()
                raise

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


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


def _may_repeat(request: Any) -> bool:
    said = request.extensions.get("idempotent") is True
    return may_repeat(request.method, request.headers, said=said)


def _prepare(request: Any) -> None:
    """The fields and the time limits of the attempt."""
    add_fields(request.headers)
    limits = request.extensions.get("timeout") or {}
    request.extensions["timeout"] = {
        kind: shorter(limits.get(kind)) for kind in ("connect", "read", "write", "pool")
    }
