"""What the transports of httpx and httpx2 share: a request sent to an instance of its service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from moreton.kernel.arguments import check_kind
from moreton.registry.core.instance import Instance
from moreton.registry.discovery.choices import Choice
from moreton.registry.discovery.client import AsyncDiscovery, Discovery
from moreton.registry.discovery.clients.targets import is_small, service_of
from moreton.registry.discovery.core.members import Outcome
from moreton.registry.discovery.errors import NoInstance, ServiceUnknown
from moreton.resilience.clients.foreign import as_foreign


class CountedStream:
    """The body of an answer: until it is closed, its request is under way."""

    def __init__(self, stream: Any, choice: Choice) -> None:
        self._inner = stream
        self._choice = choice

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._inner
        except Exception as error:
            self._choice.failed(error)
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._inner:
                yield part
        except Exception as error:
            self._choice.failed(error)
            raise

    def close(self) -> None:
        """Close the body."""
        self._choice.ended(Outcome.ANSWERED)
        self._inner.close()

    async def aclose(self) -> None:
        """Close the body."""
        self._choice.ended(Outcome.ANSWERED)
        await self._inner.aclose()


class _Instances:
    """Beneath a policy: sends each attempt to an instance; what is no service goes on as it is."""

    def __init__(self, library: Any, counted: type[CountedStream], inner: Any) -> None:
        self._library = library
        self._counted = counted
        self._inner = inner

    def _directed(self, request: Any, instance: Instance) -> Any:
        """*request* for *instance*; the service's name stays in `Host` and in TLS."""
        extensions = dict(request.extensions)
        if request.url.scheme == "https":
            extensions.setdefault("sni_hostname", request.url.host)
        url = request.url.copy_with(host=instance.address, port=instance.port)
        return self._library.Request(
            request.method, url, headers=request.headers, stream=request.stream,
            extensions=extensions,
        )  # fmt: skip

    def _foreign(self, error: NoInstance | ServiceUnknown, request: Any) -> Exception:
        return as_foreign(error, self._library.ConnectError, _request=request)


class SyncInstances(_Instances):
    """For a `Client`."""

    def __init__(
        self, library: Any, counted: type[CountedStream], inner: Any, discovery: Discovery
    ) -> None:
        check_kind("discovery", discovery, Discovery)
        super().__init__(library, counted, inner)
        self._discovery = discovery

    def handle_request(self, request: Any) -> Any:
        """Send *request*."""
        service = service_of(request.url.host)
        if service is None:
            return self._inner.handle_request(request)
        try:
            choice = self._discovery.choose(service)
        except (NoInstance, ServiceUnknown) as error:
            raise self._foreign(error, request) from error
        try:
            answer = self._inner.handle_request(self._directed(request, choice.instance))
        except BaseException as error:
            choice.failed(error)
            raise
        answer.stream = self._counted(answer.stream, choice)
        if is_small(answer.headers):
            with contextlib.closing(answer.stream) as stream:
                answer.stream = self._library.ByteStream(b"".join(stream))
        return answer

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()


class AsyncInstances(_Instances):
    """For an `AsyncClient`."""

    def __init__(
        self, library: Any, counted: type[CountedStream], inner: Any, discovery: AsyncDiscovery
    ) -> None:
        check_kind("discovery", discovery, AsyncDiscovery)
        super().__init__(library, counted, inner)
        self._discovery = discovery

    async def handle_async_request(self, request: Any) -> Any:
        """Send *request*."""
        service = service_of(request.url.host)
        if service is None:
            return await self._inner.handle_async_request(request)
        try:
            choice = await self._discovery.choose(service)
        except (NoInstance, ServiceUnknown) as error:
            raise self._foreign(error, request) from error
        try:
            answer = await self._inner.handle_async_request(
                self._directed(request, choice.instance)
            )
        except BaseException as error:
            choice.failed(error)
            raise
        answer.stream = self._counted(answer.stream, choice)
        if is_small(answer.headers):
            async with contextlib.aclosing(answer.stream) as stream:
                read = b"".join([part async for part in stream])
                answer.stream = self._library.ByteStream(read)
        return answer

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()
