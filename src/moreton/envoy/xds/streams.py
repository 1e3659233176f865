"""One stream of each protocol variant: requests in, a machine, serialised responses out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from moreton.envoy.core.delivery import (
    Acknowledged,
    Delivery,
    Event,
    Refused,
    Send,
    Subscribe,
)
from moreton.envoy.core.resources import Resource, TypeUrl
from moreton.envoy.xds.frames import delta_response, sotw_response
from moreton.envoy.xds.status import ProxyStatus

_TYPES = {str(member): member for member in TypeUrl}
_AGAIN = "again"
# Absence from a full response means removal for these two only.
_FULL_STATE = frozenset({TypeUrl.LISTENER, TypeUrl.CLUSTER})


class Stream:
    """What both variants share: the machine and the outbox."""

    def __init__(self, proxy: ProxyStatus, notice: Callable[[], None], *, gated: bool) -> None:
        self.proxy = proxy
        self._delivery = Delivery(gated=gated)
        self._seen: set[TypeUrl] = set()
        self._outbox: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._notice = notice

    def feed(self, event: Event) -> None:
        """Hand *event* to the machine and perform what it says."""
        events = [event]
        while events:
            for effect in self._delivery.handle(events.pop()):
                if not isinstance(effect, Send):
                    self.proxy.count(effect)
                    continue
                response = self._response(effect)
                if response is None:  # nothing to say: as good as acknowledged
                    events.append(Acknowledged(effect.type_url, effect.nonce))
                else:
                    self._outbox.put_nowait(response)
        self._notice()

    async def responses(self) -> AsyncIterator[bytes]:
        """What to send, until the stream is closed."""
        while (response := await self._outbox.get()) is not None:
            yield response

    def extend(self, resources: Iterable[Resource]) -> None:
        """Send those of *resources* again, for their new time, that the proxy has as they are."""
        having = [one for one in resources if self.proxy.versions.get(one.key) == one.version]
        for resource in having:
            # Its acknowledgement says nothing new: no answer of the machine has this nonce.
            response = delta_response(resource.key.type_url, _AGAIN, [resource], ())
            self._outbox.put_nowait(response)

    def close(self) -> None:
        """End `responses`."""
        self._outbox.put_nowait(None)

    def request(self, request: Any) -> None:
        """Take in one request of the variant; one of an unknown type is left unanswered."""
        type_url = _TYPES.get(request.type_url)
        if type_url is None:
            return
        first = type_url not in self._seen
        self._seen.add(type_url)
        self._take(request, type_url, first=first)

    def _answered(self, request: Any, type_url: TypeUrl) -> None:
        # A refusal is told by its detail alone; comparing versions misleads.
        if request.HasField("error_detail"):
            reason = request.error_detail.message
            self.feed(Refused(type_url, request.response_nonce, reason))
        else:
            self.feed(Acknowledged(type_url, request.response_nonce))

    def _response(self, effect: Send) -> bytes | None:
        raise NotImplementedError

    def _take(self, request: Any, type_url: TypeUrl, *, first: bool) -> None:
        raise NotImplementedError


class DeltaStream(Stream):
    """Incremental xDS, which Envoy speaks."""

    def __init__(self, proxy: ProxyStatus, notice: Callable[[], None]) -> None:
        super().__init__(proxy, notice, gated=True)

    def _response(self, effect: Send) -> bytes:
        return delta_response(effect.type_url, effect.nonce, effect.resources, effect.removed)

    def _take(self, request: Any, type_url: TypeUrl, *, first: bool) -> None:
        if request.response_nonce:
            self._answered(request, type_url)
        # The nonce pairs answers only: a stale one does not make the subscription stale.
        if first or request.resource_names_subscribe or request.resource_names_unsubscribe:
            self.feed(
                Subscribe(
                    type_url,
                    frozenset(request.resource_names_subscribe),
                    frozenset(request.resource_names_unsubscribe),
                    dict(request.initial_resource_versions) if first else {},
                    first,
                )
            )


class SotwStream(Stream):
    """State of the world, which gRPC's `xds:///` clients speak."""

    def __init__(self, proxy: ProxyStatus, notice: Callable[[], None]) -> None:
        super().__init__(proxy, notice, gated=False)
        self._names: dict[TypeUrl, frozenset[str]] = {}
        self._nonces: dict[TypeUrl, str] = {}

    def _response(self, effect: Send) -> bytes | None:
        resources = self._delivery.full(effect.type_url)
        if effect.type_url not in _FULL_STATE and not effect.resources:
            return None  # a name that is not there is not mentioned; the client has a timer
        self._nonces[effect.type_url] = effect.nonce
        return sotw_response(effect.type_url, effect.nonce, resources)

    def _take(self, request: Any, type_url: TypeUrl, *, first: bool) -> None:
        if request.response_nonce:
            if request.response_nonce != self._nonces.get(type_url):
                return  # a newer response is on its way, and will be answered with this and more
            self._answered(request, type_url)
        names = frozenset(request.resource_names)
        before = self._names.get(type_url, frozenset())
        self._names[type_url] = names
        if first or names != before:
            self.feed(Subscribe(type_url, names - before, before - names, {}, first))
