"""Answers to readers: at once, or once something changed; with the headers that clients parse."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from moreton.kernel.rng import Rng
from moreton.kernel.time import Clock
from moreton.registry.consul.core.durations import SECOND
from moreton.registry.consul.core.queries import Blocking, Options, parse_options
from moreton.registry.consul.core.refusals import ConsulRequestRefused
from moreton.registry.consul.following.mirror import Mirror
from moreton.registry.consul.following.topics import Topic, Waiters
from moreton.registry.consul.messages import Answer, Headers, Request
from moreton.store.errors import StoreError


class Source(Protocol):
    """A part of the store that is followed, with an index for each topic."""

    @property
    def mirror(self) -> Mirror:
        """The part itself."""
        ...

    def index(self, topic: Topic) -> int:
        """The index of *topic* now."""
        ...

    def adopt(self, topic: Topic, index: int) -> None:
        """A client was given *index* by some node."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What a request asks for: *take* tells it from *source* as it is; *topic* says when again.

    *keys*, a range, is asked of the store itself before, when the request wants no less; *always*
    so unless it takes what is stale.
    """

    source: Source
    topic: Topic
    take: Callable[[], Answer]
    keys: tuple[bytes, bytes | None]
    always: bool = False


class Reading:
    """Carries out looks."""

    def __init__(
        self,
        waiters: Waiters,
        *,
        clock: Clock,
        rng: Rng,
        is_cut_off: Callable[[], bool],
        default_policy: str,
    ) -> None:
        self._waiters = waiters
        self._clock = clock
        self._rng = rng
        self._is_cut_off = is_cut_off
        self._policy: Headers = (
            (b"x-consul-default-acl-policy", default_policy.encode()),
            (b"x-consul-results-filtered-by-acls", b"false"),
            (b"x-consul-query-backend", b"blocking-query"),
        )

    async def answer(self, request: Request, look: Look) -> Answer:
        """What *look* takes, once its index is above the one that the request names."""
        options = parse_options(request.parameters)
        if options.consistent or (look.always and not (options.stale or options.cached)):
            await self._settle(look)
        if options.blocking is not None:
            await self.wait(request, look.source, look.topic, options.blocking)
        return self.taken(look, options)

    def taken(self, look: Look, options: Options) -> Answer:
        """What *look* takes now."""
        found = look.take()
        return Answer(found.body, found.status, (*found.headers, *self._about(look, options)))

    async def wait(
        self, request: Request, source: Source, topic: Topic, blocking: Blocking
    ) -> None:
        """Return once the index of *topic* is above the one asked for, or after the time for it."""
        source.adopt(topic, blocking.index)
        if source.index(topic) > blocking.index:
            return
        if self._waiters.is_full:
            raise ConsulRequestRefused(429, "too many requests wait already: wait and try again")
        limit = blocking.limit(self._rng.random()) / SECOND
        leaving = asyncio.ensure_future(_leave(request))
        try:
            async with asyncio.timeout(limit):
                while source.index(topic) <= blocking.index and not self._waiters.is_closed:
                    with self._waiters.waiting(topic) as waiter:
                        await asyncio.wait((waiter, leaving), return_when=asyncio.FIRST_COMPLETED)
                    if request.has_left:
                        return
        except TimeoutError:
            return
        finally:
            leaving.cancel()

    async def _settle(self, look: Look) -> None:
        try:
            await look.source.mirror.settle(*look.keys)
        except (StoreError, TimeoutError) as error:
            why = str(error) or "this node does not keep up with the store"
            raise ConsulRequestRefused(500, f"No cluster leader: {why}") from error

    def _about(self, look: Look, options: Options) -> Headers:
        index = str(look.source.index(look.topic)).encode()
        seen_at = look.source.mirror.seen_at
        behind = 0 if seen_at is None else max(0, (self._clock.now() - seen_at).total_seconds())
        leads = b"false" if seen_at is not None or self._is_cut_off() else b"true"
        headers = [
            (b"x-consul-index", index),
            (b"x-consul-knownleader", leads),
            (b"x-consul-lastcontact", str(int(behind * 1000)).encode()),
            (b"x-consul-effective-consistency", options.consistency.encode()),
            *self._policy,
        ]
        if options.cached:
            headers += [(b"x-cache", b"HIT"), (b"age", str(int(behind)).encode())]
        return headers


async def _leave(request: Request) -> None:
    """Until the client hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    request.has_left = True
