"""A channel of `grpc.aio` to a service by its name: `channel("moreton:///orders", discovery)`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Self

import grpc

from moreton.kernel.arguments import check_kind
from moreton.registry.core.changes import serving
from moreton.registry.discovery.choices import one_request, tried
from moreton.registry.discovery.client import AsyncDiscovery
from moreton.registry.discovery.clients.grpc_calls import (
    ELSEWHERE_MAX,
    AioNowhere,
    Pool,
    Route,
    nowhere,
    service_of_target,
    status_outcome,
)
from moreton.registry.discovery.clients.targets import careful_of
from moreton.registry.discovery.core.members import Outcome
from moreton.registry.discovery.errors import NoInstance, ServiceUnknown
from moreton.resilience.clients.grpc import (
    AIO_STREAM_INTERCEPTORS,
    FAILURES,
    AioResilientInterceptor,
)
from moreton.resilience.policy import Policy

__all__ = ["channel"]

# Never connected to: each call is led elsewhere before.
_NOWHERE = "ipv4:127.0.0.1:1"
_READY = grpc.ChannelConnectivity.READY
_CONNECTING = grpc.ChannelConnectivity.CONNECTING


def channel(
    target: str,
    discovery: AsyncDiscovery,
    *,
    credentials: Any = None,
    policy: Policy | None = None,
    idempotent: bool = False,
    failures: Iterable[Any] = FAILURES,
    options: Iterable[tuple[str, Any]] = (),
) -> Any:
    """A `grpc.aio.Channel` to the service that *target* names: as `clients.grpc.channel`."""
    service = service_of_target(target)
    check_kind("discovery", discovery, AsyncDiscovery)
    resilient = AioResilientInterceptor(
        policy or careful_of(discovery, service), idempotent=idempotent, failures=failures
    )
    return _Channel(_Instances(service, discovery, credentials, options), resilient)


class _Instances:
    """The instances of one service, and which codecs each method has."""

    def __init__(
        self,
        service: str,
        discovery: AsyncDiscovery,
        credentials: Any,
        options: Iterable[tuple[str, Any]],
    ) -> None:
        def make(target: str, settings: Any) -> Any:
            if credentials is None:
                return grpc.aio.insecure_channel(target, settings)
            return grpc.aio.secure_channel(target, credentials, settings)

        self.service = service
        self.discovery = discovery
        self.pool = Pool(service, options, make, self._close_later)
        self.codecs: dict[str, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def route(self) -> Route:
        """Where the next call goes."""
        try:
            choice = await self.discovery.choose(self.service)
        except (NoInstance, ServiceUnknown) as error:
            raise nowhere(error, AioNowhere) from error
        return Route(choice, self.pool, self.discovery.follow(self.service).snapshot.instances)

    def call(self, route: Route, kind: str, details: Any, request: Any) -> Any:
        """A call at the instance of *route*."""
        method = details.method.decode() if isinstance(details.method, bytes) else details.method
        callable_ = getattr(route.channel, kind)(method, *self.codecs[method])
        return callable_(
            request,
            timeout=details.timeout,
            metadata=details.metadata,
            credentials=details.credentials,
            wait_for_ready=details.wait_for_ready,
        )

    def end_with(self, route: Route, call: Any) -> None:
        """End *route* when *call* does."""

        async def end() -> None:
            outcome = Outcome.ABANDONED
            try:
                outcome = status_outcome(await call.code(), await call.details())
            finally:
                route.ended(outcome)

        self._keep(end())

    def has_others(self) -> bool:
        """Whether there are instances that the request under way did not go to."""
        known = serving(self.discovery.follow(self.service).snapshot.instances)
        return any(each.id not in tried() for each in known)

    def _close_later(self, channel: Any) -> None:
        self._keep(channel.close())

    def _keep(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _OneRequest(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Around the policy: its attempts are of one request."""

    async def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        with one_request():
            return await continuation(client_call_details, request)


class _LeadUnary(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # as above
    """Beneath the policy: leads each attempt to an instance, and elsewhere if it reached nobody."""

    def __init__(self, instances: _Instances) -> None:
        self._instances = instances

    async def intercept_unary_unary(
        self, _: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        for left in reversed(range(ELSEWHERE_MAX + 1)):
            route = await self._instances.route()
            outcome = Outcome.ABANDONED
            try:
                call = self._instances.call(route, "unary_unary", client_call_details, request)
                try:
                    outcome = status_outcome(await call.code(), await call.details())
                finally:
                    call.cancel()  # nothing, once it has ended
            finally:
                route.ended(outcome)
            if not left or outcome is not Outcome.REFUSED or not self._instances.has_others():
                return call
        raise AssertionError("the last one returns")


class _Lead:
    """Leads a call that streams to an instance."""

    kind = ""

    def __init__(self, instances: _Instances) -> None:
        self._instances = instances

    async def _lead(self, _: Any, client_call_details: Any, request: Any) -> Any:
        route = await self._instances.route()
        try:
            call = self._instances.call(route, self.kind, client_call_details, request)
        except BaseException:
            route.ended(Outcome.ABANDONED)
            raise
        self._instances.end_with(route, call)
        return call


class _LeadUnaryStream(_Lead, grpc.aio.UnaryStreamClientInterceptor):  # type: ignore[misc]  # as above
    kind = "unary_stream"
    intercept_unary_stream = _Lead._lead  # noqa: SLF001 - its own half


class _LeadStreamUnary(_Lead, grpc.aio.StreamUnaryClientInterceptor):  # type: ignore[misc]  # as above
    kind = "stream_unary"
    intercept_stream_unary = _Lead._lead  # noqa: SLF001 - as above


class _LeadStreamStream(_Lead, grpc.aio.StreamStreamClientInterceptor):  # type: ignore[misc]  # as above
    kind = "stream_stream"
    intercept_stream_stream = _Lead._lead  # noqa: SLF001 - as above


class _Channel(grpc.aio.Channel):  # type: ignore[misc]  # as above
    """Takes note of the codecs, and hands calls to a channel whose interceptors lead them away."""

    def __init__(self, instances: _Instances, resilient: AioResilientInterceptor) -> None:
        self._instances = instances
        leading = (_LeadUnary, _LeadUnaryStream, _LeadStreamUnary, _LeadStreamStream)
        self._outer = grpc.aio.insecure_channel(
            _NOWHERE,
            interceptors=[
                _OneRequest(),
                resilient,
                *AIO_STREAM_INTERCEPTORS,
                *(each(instances) for each in leading),
            ],
        )

    def unary_unary(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return self._method("unary_unary", method, codecs, settings)

    def unary_stream(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return self._method("unary_stream", method, codecs, settings)

    def stream_unary(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return self._method("stream_unary", method, codecs, settings)

    def stream_stream(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return self._method("stream_stream", method, codecs, settings)

    def get_state(self, try_to_connect: bool = False) -> Any:  # noqa: ARG002, FBT001, FBT002 - gRPC's
        """Ready as soon as an instance serves."""
        known = self._instances.discovery.follow(self._instances.service).snapshot.instances
        return _READY if serving(known) else _CONNECTING

    async def wait_for_state_change(self, last_observed_state: Any) -> None:
        async for _ in self._instances.discovery.watch(self._instances.service):
            if self.get_state() is not last_observed_state:
                return

    async def channel_ready(self) -> None:
        """Wait until an instance serves."""
        if self.get_state() is not _READY:
            await self.wait_for_state_change(_CONNECTING)

    async def close(self, grace: float | None = None) -> None:
        await self._outer.close(grace)
        await asyncio.gather(*(each.close(grace) for each in self._instances.pool.close()))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _method(self, kind: str, method: str, codecs: Any, settings: Any) -> Any:
        own = {name: value for name, value in settings.items() if not name.startswith("_")}
        serialize = codecs[0] if codecs else own.get("request_serializer")
        deserialize = codecs[1] if len(codecs) > 1 else own.get("response_deserializer")
        self._instances.codecs[method] = (serialize, deserialize)
        return getattr(self._outer, kind)(method, serialize, deserialize)
