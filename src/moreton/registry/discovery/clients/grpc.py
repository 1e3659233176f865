"""A gRPC channel to a service by its name: `channel("moreton:///orders", discovery)`.

Python's gRPC lets nobody add a resolver. So this is a channel that has one of gRPC's own for each
instance, and chooses one for each call; stubs and interceptors take it as any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Self
from weakref import WeakKeyDictionary

import grpc

from moreton.kernel.arguments import check_kind
from moreton.registry.core.changes import serving
from moreton.registry.discovery.choices import one_request, tried
from moreton.registry.discovery.client import Discovery
from moreton.registry.discovery.clients.grpc_calls import (
    ELSEWHERE_MAX,
    Pool,
    Route,
    nowhere,
    service_of_target,
    status_outcome,
)
from moreton.registry.discovery.clients.targets import careful_of
from moreton.registry.discovery.core.known import Snapshot
from moreton.registry.discovery.core.members import Outcome
from moreton.registry.discovery.errors import NoInstance, ServiceUnknown
from moreton.resilience.clients.grpc import FAILURES, ResilientInterceptor
from moreton.resilience.policy import Policy

__all__ = ["channel"]

_READY = grpc.ChannelConnectivity.READY
_CONNECTING = grpc.ChannelConnectivity.CONNECTING


def channel(
    target: str,
    discovery: Discovery,
    *,
    credentials: Any = None,
    policy: Policy | None = None,
    idempotent: bool = False,
    failures: Iterable[Any] = FAILURES,
    options: Iterable[tuple[str, Any]] = (),
) -> Any:
    """A `grpc.Channel` to the service that *target* names, as `moreton:///orders`.

    Each call goes to an instance of its own. One that reached nobody goes to another at once.
    Unary calls are made under *policy* (default: some attempts within a budget), and repeated,
    elsewhere, if *idempotent* says that they may be. Instances are asked for as `orders.moreton`,
    which over TLS, with *credentials*, is the name that they have to show. *options* are gRPC's.
    """
    service = service_of_target(target)
    check_kind("discovery", discovery, Discovery)
    own = policy or careful_of(discovery, service)
    base = _Instances(service, discovery, credentials, options)
    resilient = ResilientInterceptor(own, idempotent=idempotent, failures=failures)
    return grpc.intercept_channel(base, _OneRequest(), resilient)


class _OneRequest(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpc has no types
    """Around the policy: its attempts are of one request."""

    def intercept_unary_unary(
        self, continuation: Callable[[Any, Any], Any], client_call_details: Any, request: Any
    ) -> Any:
        with one_request():
            return continuation(client_call_details, request)


class _Instances(grpc.Channel):  # type: ignore[misc]  # as above
    """A channel whose calls go to the instances of one service."""

    def __init__(
        self,
        service: str,
        discovery: Discovery,
        credentials: Any,
        options: Iterable[tuple[str, Any]],
    ) -> None:
        def make(target: str, settings: Any) -> Any:
            if credentials is None:
                return grpc.insecure_channel(target, settings)
            return grpc.secure_channel(target, credentials, settings)

        self.service = service
        self.discovery = discovery
        self.pool = Pool(service, options, make, lambda each: each.close())
        self._listeners: dict[Callable[[Any], None], Callable[[Snapshot], None]] = {}

    def unary_unary(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return _Unary(self, "unary_unary", method, codecs, settings)

    def stream_unary(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return _Unary(self, "stream_unary", method, codecs, settings)

    def unary_stream(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return _Streaming(self, "unary_stream", method, codecs, settings)

    def stream_stream(self, method: str, *codecs: Any, **settings: Any) -> Any:
        return _Streaming(self, "stream_stream", method, codecs, settings)

    def subscribe(
        self,
        callback: Callable[[Any], None],
        try_to_connect: bool = False,  # noqa: ARG002, FBT001, FBT002 - gRPC's
    ) -> None:
        """Tell *callback* that the channel is ready once an instance serves."""

        def listener(snapshot: Snapshot) -> None:
            callback(_READY if serving(snapshot.instances) else _CONNECTING)

        self._listeners[callback] = listener
        self.discovery.follow(self.service).listen(listener)

    def unsubscribe(self, callback: Callable[[Any], None]) -> None:
        listener = self._listeners.pop(callback, None)
        if listener is not None:
            self.discovery.follow(self.service).forget(listener)

    def close(self) -> None:
        for each in self.pool.close():
            each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def route(self) -> Route:
        """Where the next call goes."""
        try:
            choice = self.discovery.choose(self.service)
        except (NoInstance, ServiceUnknown) as error:
            raise nowhere(error) from error
        return Route(choice, self.pool, self.discovery.follow(self.service).snapshot.instances)


class _Method:
    """A method of the service, to be called at any instance."""

    def __init__(
        self, base: _Instances, kind: str, method: str, codecs: Any, settings: Any
    ) -> None:
        self._base = base
        self._kind = kind
        self._arguments = (method, *codecs)
        self._settings = settings
        # Made once for each instance; forgotten with its channel.
        self._made: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def _on(self, channel: Any) -> Any:
        found = self._made.get(channel)
        if found is None:
            found = getattr(channel, self._kind)(*self._arguments, **self._settings)
            self._made[channel] = found
        return found

    def _begun(self, *arguments: Any, future: bool, **settings: Any) -> Any:
        """The call object of a call that goes on by itself."""
        route = self._base.route()
        try:
            call = self._on(route.channel)
            call = (call.future if future else call)(*arguments, **settings)
        except BaseException:
            route.ended(Outcome.ABANDONED)
            raise
        end = partial(_end, route, call)
        # One that ended already has nothing left to call.
        if not call.add_callback(end):
            end()
        return call


class _Streaming(_Method, grpc.UnaryStreamMultiCallable, grpc.StreamStreamMultiCallable):  # type: ignore[misc]  # grpc has no types
    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self._begun(*arguments, future=False, **settings)


class _Unary(_Method, grpc.UnaryUnaryMultiCallable, grpc.StreamUnaryMultiCallable):  # type: ignore[misc]  # as above
    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return self.with_call(*arguments, **settings)[0]

    def with_call(self, *arguments: Any, **settings: Any) -> Any:
        """Call, and call elsewhere what reached nobody."""
        for left in reversed(range(ELSEWHERE_MAX + 1)):
            route = self._base.route()
            outcome = Outcome.ABANDONED
            try:
                found = self._on(route.channel).with_call(*arguments, **settings)
                outcome = Outcome.ANSWERED
            except grpc.RpcError as error:
                outcome = status_outcome(error.code(), error.details())
                if not left or outcome is not Outcome.REFUSED or not self._has_others():
                    raise
            else:
                return found
            finally:
                route.ended(outcome)
        raise AssertionError("the last one raises or returns")

    def future(self, *arguments: Any, **settings: Any) -> Any:
        return self._begun(*arguments, future=True, **settings)

    def _has_others(self) -> bool:
        known = serving(self._base.discovery.follow(self._base.service).snapshot.instances)
        return any(each.id not in tried() for each in known)


def _end(route: Route, call: Any) -> None:
    route.ended(status_outcome(call.code(), call.details()))
