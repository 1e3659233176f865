"""The life of a program that is registered from outside: start, serve, leave, stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias, assert_never

from moreton.kernel.time import Instant

# The lease ends by itself: the program's end is put off no longer than this.
DEREGISTRATION_MAX = timedelta(seconds=3)
# As `timeout` of GNU coreutils exits.
NEVER_READY_STATUS = 124
# As shells report a program that a signal ended: 128 and the signal's number.
_SIGNAL_STATUS = 128
_SIGTERM = 15


class RunPhase(StrEnum):
    """Where a program is in its life."""

    STARTING = "starting"  # its port does not accept yet
    SERVING = "serving"
    LEAVING = "leaving"  # deregistration is under way, the program serves
    GRACE = "grace"  # deregistered; requests sent before the proxies knew are served
    STOPPING = "stopping"  # the program was told to stop
    CLOSING = "closing"  # the program ended, deregistration is under way
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How long to wait: for the port, for the proxies, for the program to stop when told."""

    ready: timedelta = timedelta(seconds=60)
    grace: timedelta = timedelta(milliseconds=500)
    stop: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class PortAccepted:
    """The program accepts connections."""


@dataclass(frozen=True, slots=True)
class ProgramEnded:
    """The program ended with *status*; negative: by that signal."""

    status: int


@dataclass(frozen=True, slots=True)
class StopSignalled:
    """Someone wants the program to end by signal *number*."""

    number: int


@dataclass(frozen=True, slots=True)
class OtherSignalled:
    """A signal that means something to the program only."""

    number: int


@dataclass(frozen=True, slots=True)
class DeregistrationEnded:
    """The registry confirmed, or does not answer."""


RunEvent: TypeAlias = (
    PortAccepted | ProgramEnded | StopSignalled | OtherSignalled | DeregistrationEnded
)


@dataclass(frozen=True, slots=True)
class Register:
    """Effect: register the program, and keep it registered."""


@dataclass(frozen=True, slots=True)
class Deregister:
    """Effect: end the registration; answer with `DeregistrationEnded`."""


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Effect: send signal *number* to the program."""

    number: int


@dataclass(frozen=True, slots=True)
class KillProgram:
    """Effect: end the program, and all that it started, without asking."""


@dataclass(frozen=True, slots=True)
class ExplainNeverReady:
    """Effect: tell people that the port did not open."""


@dataclass(frozen=True, slots=True)
class ExplainNeverServed:
    """Effect: tell people that the program ended, with *status*, before its port opened."""

    status: int


@dataclass(frozen=True, slots=True)
class Exit:
    """Effect: end with *status*."""

    status: int


RunEffect: TypeAlias = (
    Register | Deregister | SendSignal | KillProgram | ExplainNeverReady | ExplainNeverServed | Exit
)


class Run:
    """Registers a program while it serves; nothing is sent to it before or after.

    A stop signal first takes the registration away, then gives the proxies a moment, then goes to
    the program; the same signal again skips the waiting.
    """

    def __init__(self, limits: RunLimits, now: Instant) -> None:
        self.phase = RunPhase.STARTING
        self._limits = limits
        self._deadline: Instant | None = now + limits.ready
        self._signal = _SIGTERM
        self._status: int | None = None
        self._is_deregistering = False

    def handle(self, event: RunEvent, now: Instant) -> Sequence[RunEffect]:
        """What follows from *event*."""
        match event:
            case PortAccepted():
                return self._accepted()
            case ProgramEnded(status):
                return self._program_ended(status, now)
            case StopSignalled(number):
                return self._stop(number, now)
            case OtherSignalled(number):
                has_ended = self.phase in {RunPhase.CLOSING, RunPhase.ENDED}
                return () if has_ended else (SendSignal(number),)
            case DeregistrationEnded():
                return self._deregistered(now)
            case _:
                assert_never(event)

    def wake(self, now: Instant) -> Sequence[RunEffect]:
        """Stop waiting for what took too long."""
        if self._deadline is None or now < self._deadline:
            return ()
        match self.phase:
            case RunPhase.STARTING:
                self._status = NEVER_READY_STATUS
                return (ExplainNeverReady(), *self._tell_program(now))
            case RunPhase.LEAVING | RunPhase.GRACE:
                return self._tell_program(now)
            case RunPhase.CLOSING:
                return self._exit()
            case _:
                self._deadline = None
                return (KillProgram(),) if self.phase is RunPhase.STOPPING else ()

    def deadline(self) -> Instant | None:
        """When the present wait ends."""
        return self._deadline

    def _accepted(self) -> Sequence[RunEffect]:
        if self.phase is not RunPhase.STARTING:
            return ()
        self.phase = RunPhase.SERVING
        self._deadline = None
        return (Register(),)

    def _program_ended(self, status: int, now: Instant) -> Sequence[RunEffect]:
        if self._status is None:
            self._status = status if status >= 0 else _SIGNAL_STATUS - status
        if self.phase is RunPhase.SERVING:
            self._is_deregistering = True
            self.phase = RunPhase.CLOSING
            self._deadline = now + DEREGISTRATION_MAX
            return (Deregister(),)
        if self._is_deregistering:
            self.phase = RunPhase.CLOSING
            self._deadline = now + DEREGISTRATION_MAX
            return ()
        if self.phase is RunPhase.STARTING:
            return (ExplainNeverServed(self._status), *self._exit())
        return self._exit()

    def _stop(self, number: int, now: Instant) -> Sequence[RunEffect]:
        self._signal = number
        match self.phase:
            case RunPhase.SERVING:
                self.phase = RunPhase.LEAVING
                self._is_deregistering = True
                self._deadline = now + DEREGISTRATION_MAX
                return (Deregister(),)
            case RunPhase.STARTING | RunPhase.LEAVING | RunPhase.GRACE:
                return self._tell_program(now)
            case RunPhase.STOPPING:
                return (SendSignal(number),)
            case RunPhase.CLOSING:
                return self._exit()
            case RunPhase.ENDED:
                return ()
            case _:
                assert_never(self.phase)

    def _deregistered(self, now: Instant) -> Sequence[RunEffect]:
        self._is_deregistering = False
        if self.phase is RunPhase.CLOSING:
            return self._exit()
        if self.phase is RunPhase.LEAVING:
            self.phase = RunPhase.GRACE
            self._deadline = now + self._limits.grace
        return ()

    def _tell_program(self, now: Instant) -> tuple[RunEffect, ...]:
        self.phase = RunPhase.STOPPING
        self._deadline = now + self._limits.stop
        return (SendSignal(self._signal),)

    def _exit(self) -> tuple[RunEffect, ...]:
        assert self._status is not None, "only an ended program has nothing left to do"
        self.phase = RunPhase.ENDED
        self._deadline = None
        return (Exit(self._status),)
