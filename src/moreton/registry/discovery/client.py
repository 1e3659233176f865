"""The discovery client: for threads, and for asyncio, under the same names."""

from __future__ import annotations

import _thread
import asyncio
import os
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from moreton.kernel.arguments import check_duration, check_kind
from moreton.kernel.places import Finder
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import SystemClock
from moreton.registry.core.instance import Instance, InstanceId, check_service_name
from moreton.registry.discovery.choices import Choice, tried
from moreton.registry.discovery.copies import Copies
from moreton.registry.discovery.core.balancing import Balancer, BalancerStatistics, Balancing
from moreton.registry.discovery.core.known import Snapshot
from moreton.registry.discovery.errors import DiscoveryClosed, NoInstance, ServiceUnknown
from moreton.registry.discovery.follower import Follower, Listener
from moreton.registry.discovery.stream import Stream
from moreton.resilience.context import remaining
from moreton.resilience.layers.retry import RetryBudget

FIRST_ANSWER = timedelta(seconds=5)
_CLOSE_SECONDS_MAX = 1.0


class Directory:
    """What both clients are made of: the services that are followed. Nothing here waits.

    *api* and *token* say where the control plane is, as for `register`. *balancing* says how
    requests are spread; *caller* is the service that this program is an instance of, whose
    zones then tell how many requests each zone makes. *first_answer*: how long requests wait, at
    the start, to be told where a service is. *copy*: a folder to keep what is known in, for
    starts while the registry is away. *name* tells this client from others where each talks to a
    subset; by default no two starts have the same.
    """

    def __init__(
        self,
        *,
        api: str | None = None,
        token: str | None = None,
        balancing: Balancing | None = None,
        caller: str = "",
        first_answer: timedelta = FIRST_ANSWER,
        copy: Path | str | None = None,
        name: str = "",
    ) -> None:
        self.balancing = Balancing() if balancing is None else balancing
        check_kind("balancing", self.balancing, Balancing)
        check_duration("first_answer", first_answer, zero=True)
        for argument, value in (("api", api), ("token", token), ("caller", caller), ("name", name)):
            check_kind(argument, value or "", str)
        if caller:
            check_service_name(caller)
        self.first_answer = first_answer
        self._finder = Finder(api=api, token=token)
        self._caller = caller
        self._copies = Copies(Path(copy)) if copy is not None else None
        self._name = name
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._followers: dict[str, Follower] = {}
        self._inherited: dict[str, Follower] = {}
        self._budgets: dict[str, RetryBudget] = {}
        self._is_closed = False
        _directories.add(self)
        # One that is forgotten, not closed, leaves no thread behind.
        weakref.finalize(self, _close_forgotten, self._followers).atexit = False

    def follow(self, service: str) -> Follower:
        """Begin to follow *service*, if that has not begun.

        Raises `InstanceNotValid` for what can be no service's name, and `DiscoveryClosed`.
        """
        found = self._followers.get(service)
        if found is not None:
            return found
        check_kind("service", service, str)
        check_service_name(service)
        with self._lock:
            if self._is_closed:
                raise DiscoveryClosed(service=service)
            found = self._followers.get(service)
            if found is not None:
                return found
            before = self._inherited.pop(service, None)
            made = self._made(service, None if before is None else before.answer)
            if before is not None:
                made.inherit(before)
            self._followers[service] = made
            made.start()
        if self._caller:
            self.follow(self._caller).listen(made.callers)
        return made

    def choose_nowait(self, service: str, avoid: Collection[InstanceId] = ()) -> Choice:
        """An instance for one request, of what is known now.

        None of *avoid*, nor of those that earlier attempts of the request under way went to, where
        there is another. Raises `NoInstance`, and `ServiceUnknown` before the first answer.
        """
        follower = self.follow(service)
        before = tried()
        member = follower.choose((*avoid, *before) if avoid else before)
        if member is None:
            if not follower.is_answered:
                raise ServiceUnknown(service=service, reason=follower.trouble)
            raise NoInstance(service=service, instances=follower.snapshot.instances)
        before.add(member.instance.id)
        return Choice(follower, member)

    def patience(self, follower: Follower) -> float:
        """How many seconds a request may wait for the first answer; 0 when it need not."""
        if follower.is_answered:
            return 0.0
        left = self.first_answer.total_seconds() - follower.age_seconds
        limit = remaining()
        return max(0.0, left if limit is None else min(left, limit.total_seconds()))

    def budget(self, service: str) -> RetryBudget:
        """What all clients of this discovery may retry at *service*, unless a policy differs."""
        with self._lock:
            return self._budgets.setdefault(service, RetryBudget())

    def statistics(self, service: str) -> BalancerStatistics:
        """What is seen of *service* now."""
        return self.follow(service).statistics()

    def close_nowait(self) -> list[Follower]:
        """Stop following; those that are about to end."""
        with self._lock:
            self._is_closed = True
            followers = list(self._followers.values())
            self._followers.clear()
        for follower in followers:
            follower.close()
        return followers

    def begin_again(self) -> None:
        """In the child of a fork: its parent's threads are not its own, what they knew is.

        What the child asks for it follows by itself, from then on.
        """
        self._lock = threading.Lock()
        self._inherited = dict(self._followers)
        self._followers.clear()

    def _made(self, service: str, remembered: Snapshot | None = None) -> Follower:
        rng = cast("Rng", system_rng())
        key = self._name or f"{socket.gethostname()}-{os.getpid()}-{rng.getrandbits(32):08x}"
        return Follower(
            service,
            Stream(self._finder, service),
            Balancer(self.balancing, rng, key=key),
            clock=self._clock,
            rng=rng,
            copies=self._copies,
            remembered=remembered,
        )


def _close_forgotten(followers: dict[str, Follower]) -> None:
    # In a thread of its own: a finaliser may run in one that holds any lock.
    for each in followers.values():
        _thread.start_new_thread(each.close, ())


_directories: weakref.WeakSet[Directory] = weakref.WeakSet()


def _after_fork() -> None:
    for each in list(_directories):
        each.begin_again()


os.register_at_fork(after_in_child=_after_fork)


class Discovery(Directory):
    """Where the instances of services are, for threads: see `Directory` for its settings.

    A daemon thread follows each service that was asked for; it is told of changes and never
    polls. What is known stays when no control plane answers, for as long as that lasts.
    """

    def wait_known(self, *services: str, timeout: timedelta | None = None) -> bool:
        """Wait until all *services* are known, *timeout* or `first_answer` at most; whether so."""
        limit = self.first_answer if timeout is None else timeout
        deadline = time.monotonic() + limit.total_seconds()
        followers = [self.follow(each) for each in services]
        return all(_wait(each, deadline - time.monotonic()) for each in followers)

    def instances(self, service: str) -> tuple[Instance, ...]:
        """All instances of *service*, whatever they do, in order of ids.

        Waits for the first answer, as `choose` does. Raises `ServiceUnknown`.
        """
        follower = self._first(service)
        if not follower.is_answered:
            raise ServiceUnknown(service=service, reason=follower.trouble)
        return follower.snapshot.instances

    def choose(self, service: str, *, avoid: Collection[InstanceId] = ()) -> Choice:
        """An instance for one request: `with discovery.choose("orders") as chosen: …`.

        None of *avoid*, where there is another. Waits for the first answer, until `first_answer`
        after the service was asked for first, and not beyond the deadline of the call. Raises
        `NoInstance`, and `ServiceUnknown` when nobody answered.
        """
        self._first(service)
        return self.choose_nowait(service, avoid)

    def watch(self, service: str) -> Iterator[Snapshot]:
        """What is known of *service*, now and after each change, until this is closed.

        Whoever is slow gets the newest only.
        """
        follower = self.follow(service)
        changed = threading.Event()
        listener: Listener = lambda _: changed.set()  # noqa: E731 - its identity is its name
        follower.listen(listener)
        try:
            while True:
                changed.wait()
                changed.clear()
                if self._is_closed:
                    return
                yield self.follow(service).snapshot
        finally:
            follower.forget(listener)

    def close(self) -> None:
        """Stop following; may be called again."""
        _join(self.close_nowait())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def _first(self, service: str) -> Follower:
        follower = self.follow(service)
        patience = self.patience(follower)
        if patience:
            _wait(follower, patience)
        return follower


class AsyncDiscovery(Directory):
    """As `Discovery`, for asyncio: the same names, and a wait blocks no loop."""

    async def wait_known(
        self,
        *services: str,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - as `Discovery` has it
    ) -> bool:
        """As `Discovery.wait_known`."""
        limit = self.first_answer if timeout is None else timeout
        followers = [self.follow(each) for each in services]
        waits = (_wait_async(each, limit.total_seconds()) for each in followers)
        return all(await asyncio.gather(*waits))

    async def instances(self, service: str) -> tuple[Instance, ...]:
        """As `Discovery.instances`."""
        follower = await self._first(service)
        if not follower.is_answered:
            raise ServiceUnknown(service=service, reason=follower.trouble)
        return follower.snapshot.instances

    async def choose(self, service: str, *, avoid: Collection[InstanceId] = ()) -> Choice:
        """As `Discovery.choose`: `with await discovery.choose("orders") as chosen: …`."""
        await self._first(service)
        return self.choose_nowait(service, avoid)

    async def watch(self, service: str) -> AsyncIterator[Snapshot]:
        """As `Discovery.watch`."""
        follower = self.follow(service)
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        listener: Listener = lambda _: loop.call_soon_threadsafe(changed.set)  # noqa: E731 - as above
        follower.listen(listener)
        try:
            while True:
                await changed.wait()
                changed.clear()
                if self._is_closed:
                    return
                yield self.follow(service).snapshot
        finally:
            follower.forget(listener)

    async def close(self) -> None:
        """As `Discovery.close`."""
        followers = self.close_nowait()
        await asyncio.to_thread(_join, followers)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()

    async def _first(self, service: str) -> Follower:
        follower = self.follow(service)
        patience = self.patience(follower)
        if patience:
            await _wait_async(follower, patience)
        return follower


def _join(followers: Iterable[Follower]) -> None:
    deadline = time.monotonic() + _CLOSE_SECONDS_MAX
    for follower in followers:
        follower.join(max(deadline - time.monotonic(), 0.0))


def _wait(follower: Follower, seconds: float) -> bool:
    """Wait for the first answer; whether it came."""
    if not follower.is_answered:
        answered = threading.Event()
        listener: Listener = lambda _: answered.set()  # noqa: E731 - as above
        follower.listen(listener)
        answered.wait(max(seconds, 0.0))
        follower.forget(listener)
    return follower.is_answered


async def _wait_async(follower: Follower, seconds: float) -> bool:
    """As `_wait`."""
    if not follower.is_answered:
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()
        listener: Listener = lambda _: loop.call_soon_threadsafe(answered.set)  # noqa: E731 - as above
        follower.listen(listener)
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await answered.wait()
        except TimeoutError:
            pass
        finally:
            follower.forget(listener)
    return follower.is_answered
