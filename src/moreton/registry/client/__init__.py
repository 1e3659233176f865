"""Two lines in a service: `register` from threads, `aregister` from asyncio.

A daemon thread renews, so that neither a blocked event loop nor a long request ends the lease; one
for all registrations of the process, which it renews together.
Nothing here raises because of the registry, and nothing waits for it longer than it says.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Self, cast

from moreton.kernel.ids import new_id
from moreton.kernel.quantities import parse_duration
from moreton.kernel.rng import Rng, system_rng
from moreton.kernel.time import SystemClock
from moreton.registry.client import draining, instructions, leaving
from moreton.registry.client.draining import Drained
from moreton.registry.client.instructions import Listener
from moreton.registry.client.keeper import keep
from moreton.registry.client.wire import Offer
from moreton.registry.client.worker import Worker
from moreton.registry.core.checks import Check
from moreton.registry.core.heartbeat import Phase
from moreton.registry.core.instance import (
    TTL_DEFAULT,
    Instance,
    InstanceId,
    check_ttl,
)
from moreton.registry.core.instructions import Instruction
from moreton.registry.core.instructions import Phase as InstructionPhase
from moreton.registry.core.standing import InstanceSource, InstanceState

__all__ = ["AsyncRegistration", "Drained", "Registration", "aregister", "register"]

# How long `aregister` waits for the first answer. A service starts without it just as well.
FIRST_ANSWER_SECONDS_MAX = 1.0
# How long the end of a program may be put off by leaving the registry.
LEAVE_SECONDS_MAX = 2.5


class Registration:
    """One instance of this program in the registry, kept there by a thread."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._listener: Listener | None = None

    @property
    def id(self) -> InstanceId:
        """The instance's id, the same for the life of this registration."""
        return self._worker.offer.instance_id

    @property
    def phase(self) -> Phase:
        """Whether it is registered just now."""
        return self._worker.phase

    @property
    def trouble(self) -> str:
        """Why it is not registered just now; empty when it is."""
        return self._worker.trouble

    def wait_registered(self, timeout: timedelta) -> bool:
        """Wait until it is registered, at most *timeout*; whether it is."""
        return self._worker.wait_phase(Phase.REGISTERED, timeout.total_seconds())

    def drain(self, timeout: timedelta | str = "30s", *, until_idle: bool = True) -> Drained:
        """Let nothing new be sent here, and wait until that is so; then leave, or `serve` again.

        Returns once every proxy acknowledged it and (*until_idle*) has no request under way here,
        at the latest after *timeout*; early when no control plane answers. What comes from clients
        that use no proxy is not counted: they are told as fast as the proxies.
        """
        length = parse_duration(timeout) if isinstance(timeout, str) else timeout
        return draining.drain(self._worker, length, until_idle=until_idle)

    async def adrain(
        self,
        timeout: timedelta | str = "30s",  # noqa: ASYNC109 - as `drain`
        *,
        until_idle: bool = True,
    ) -> Drained:
        """As `drain`, while other tasks go on."""
        return await asyncio.to_thread(self.drain, timeout, until_idle=until_idle)

    def serve(self) -> None:
        """Take `drain` back; returns at once."""
        self._worker.restate(InstanceState.SERVING)

    def wait_serving(self, seconds: float) -> bool:
        """Wait until the registry has it as serving, at most *seconds*; whether it has."""
        return self._worker.wait_stated(InstanceState.SERVING, seconds)

    def listen(self, hear: Callable[[Instruction], None] | None) -> None:
        """Hand what is to be done with this program to *hear*, on a thread; `None`: no more."""
        if self._listener is not None:
            self._listener.stop()
            self._listener = None
        if hear is not None:
            self._listener = Listener(self._worker, hear)
            self._listener.start()

    def report(self, name: str, phase: InstructionPhase, detail: str = "") -> None:
        """Tell how far the instruction *name* has come; takes some seconds in an outage."""
        instructions.report(self._worker, name, phase, detail)

    def close(self) -> None:
        """Leave the registry. Takes at most some 2.5 s, and may be called again."""
        self.close_nowait()
        self._worker.wait_phase(Phase.LEFT, LEAVE_SECONDS_MAX)

    def close_nowait(self) -> None:
        """Begin to leave the registry; returns at once."""
        leaving.forget(self._worker)
        self._worker.leave()

    async def aclose(self) -> None:
        """As `close`, while other tasks go on."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


class AsyncRegistration:
    """What `aregister` gives: `await` it for the registration, or enter it to leave at the end."""

    def __init__(self, registration: Registration) -> None:
        self._registration = registration

    def __await__(self) -> Generator[object, None, Registration]:
        return self._first_answer().__await__()

    async def __aenter__(self) -> Registration:
        return await self._first_answer()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._registration.aclose()

    async def _first_answer(self) -> Registration:
        first = self._registration._worker.first_answer  # noqa: SLF001 - of this module
        try:
            await asyncio.to_thread(first.wait, FIRST_ANSWER_SECONDS_MAX)
        except asyncio.CancelledError:
            # Nobody gets to know of it who could close it.
            self._registration.close_nowait()
            raise
        return self._registration


def register(  # noqa: PLR0913 - one keyword for each property of an instance
    service: str,
    *,
    port: int,
    address: str | None = None,
    id: str | None = None,  # noqa: A002 - the instance's word for it
    ttl: timedelta | str = TTL_DEFAULT,
    zone: str = "",
    weight: int = 1,
    version: str = "",
    tags: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    checks: Sequence[Check] = (),
    source: InstanceSource = InstanceSource.SDK,
    api: str | None = None,
    token: str | None = None,
    leave_on_sigterm: bool = True,
) -> Registration:
    """Tell the registry that this program serves *service* at *port*; returns at once.

    *address* is where others reach it; without one it is the address from which this machine
    reaches the control plane. *ports* are further ports by name, *source* says who registers.
    *checks* are made of it by the control plane, see `moreton.registry.health`.
    *api* and *token* are found by `MORETON_API` and `MORETON_TOKEN` or beside the nearest
    `moreton.yaml` upwards when they are not given.

    It leaves when closed, at exit, and on SIGTERM: then it drains first, waits until every proxy
    knows and requests under way have ended (5 s at most) while the program goes on serving, and
    only then hands the signal to whoever had it before. Raises `InstanceNotValid` for values that
    can never be registered, and nothing else.
    """
    length = parse_duration(ttl) if isinstance(ttl, str) else ttl
    check_ttl(length)
    clock, rng = SystemClock(), cast("Rng", system_rng())
    chosen = InstanceId(id if id is not None else f"{service}-{new_id(clock.wall(), rng)[-10:]}")
    sample = Instance(
        id=chosen,
        service=service,
        address=address or "127.0.0.1",
        port=port,
        zone=zone,
        weight=weight,
        version=version,
        tags=tuple(tags),
        metadata=dict(metadata or {}),
        ports=dict(ports or {}),
        checks=tuple(checks),
        source=source,
    )
    offer = Offer(sample, known_address=address is not None, ttl=length)
    worker = Worker(offer, clock=clock, rng=rng)
    keep(worker, api=api, token=token, clock=clock)
    leaving.remember(worker, on_sigterm=leave_on_sigterm and _in_main_thread())
    return Registration(worker)


def aregister(  # noqa: PLR0913 - as `register`
    service: str,
    *,
    port: int,
    address: str | None = None,
    id: str | None = None,  # noqa: A002 - as `register`
    ttl: timedelta | str = TTL_DEFAULT,
    zone: str = "",
    weight: int = 1,
    version: str = "",
    tags: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    checks: Sequence[Check] = (),
    source: InstanceSource = InstanceSource.SDK,
    api: str | None = None,
    token: str | None = None,
    leave_on_sigterm: bool = True,
) -> AsyncRegistration:
    """As `register`, for asyncio: `await` it, or `async with` it to leave at the end.

    Entering waits for the registry's first answer, at most a second; the loop is never blocked.
    """
    return AsyncRegistration(
        register(
            service,
            port=port,
            address=address,
            id=id,
            ttl=ttl,
            zone=zone,
            weight=weight,
            version=version,
            tags=tags,
            metadata=metadata,
            ports=ports,
            checks=checks,
            source=source,
            api=api,
            token=token,
            leave_on_sigterm=leave_on_sigterm,
        )
    )


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
