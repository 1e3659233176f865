"""The life of a program that is registered from outside: start, serve, leave, stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias, assert_never

from moreton.kernel.time import Instant
from moreton.registry.core.instructions import Phase

# The lease ends by itself: the program's end is put off no longer than this.
DEREGISTRATION_MAX = timedelta(seconds=3)
# A drain ends by itself; this much later nobody is waited for who should have said so.
DRAIN_ANSWER_MAX = timedelta(seconds=3)
# As `timeout` of GNU coreutils exits.
NEVER_READY_STATUS = 124
# As shells report a program that a signal ended: 128 and the signal's number.
SIGNAL_STATUS = 128
_SIGTERM = 15


class RunPhase(StrEnum):
    """Where a program is in its life."""

    STARTING = "starting"  # its port does not accept yet
    SERVING = "serving"
    DRAINING = "draining"  # nothing new is to be sent to it, the program serves
    LEAVING = "leaving"  # deregistration is under way, the program serves
    GRACE = "grace"  # nobody knows whether all proxies know: what they send is served
    STOPPING = "stopping"  # the program was told to stop
    CLOSING = "closing"  # the program ended, deregistration is under way
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class RunLimits:
    """How long to wait: for the port, for proxies and requests, for the program to stop when told.

    *grace* is for proxies of which nobody could say whether they know.
    """

    ready: timedelta = timedelta(seconds=60)
    drain: timedelta = timedelta(seconds=30)
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
class RestartAsked:
    """Someone wants the program to be started anew; *name* is the attempt's."""

    name: str


@dataclass(frozen=True, slots=True)
class DrainEnded:
    """Nothing is sent to the program any more, or nobody can tell; *known*: that is sure."""

    known: bool


@dataclass(frozen=True, slots=True)
class DeregistrationEnded:
    """The registry confirmed, or does not answer."""


RunEvent: TypeAlias = (
    PortAccepted
    | ProgramEnded
    | StopSignalled
    | OtherSignalled
    | RestartAsked
    | DrainEnded
    | DeregistrationEnded
)


@dataclass(frozen=True, slots=True)
class Register:
    """Effect: register the program as serving, and keep it registered."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Effect: let nothing new be sent to the program; answer with `DrainEnded`."""


@dataclass(frozen=True, slots=True)
class Deregister:
    """Effect: end the registration; answer with `DeregistrationEnded`."""


@dataclass(frozen=True, slots=True)
class SendSignal:
    """Effect: send signal *number* to the program."""

    number: int


@dataclass(frozen=True, slots=True)
class StartProgram:
    """Effect: start the program once more, at the same port."""


@dataclass(frozen=True, slots=True)
class Report:
    """Effect: tell who asked for the restart *name* that it has got to *phase*."""

    name: str
    phase: Phase
    detail: str = ""


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
class ExplainEnded:
    """Effect: tell people that the program ended by itself, with *status*, while it served."""

    status: int


@dataclass(frozen=True, slots=True)
class Exit:
    """Effect: end with *status*."""

    status: int


RunEffect: TypeAlias = (
    Register
    | Drain
    | Deregister
    | SendSignal
    | StartProgram
    | Report
    | KillProgram
    | ExplainNeverReady
    | ExplainNeverServed
    | ExplainEnded
    | Exit
)


class Run:
    """Registers a program while it serves; nothing is sent to it before or after.

    A stop signal first lets everybody know that nothing is to be sent any more and lets requests
    end, takes the registration away, and only then goes to the program; the same signal again
    skips the waiting. A restart does the same, but for the registration: that stays, as draining.
    """

    def __init__(self, limits: RunLimits, now: Instant) -> None:
        self.phase = RunPhase.STARTING
        self._limits = limits
        self._deadline: Instant | None = now + limits.ready
        self._signal = _SIGTERM
        self._status: int | None = None
        self._restart = ""  # the name of the one under way
        self._is_registered = False
        self._is_deregistering = False
        self._is_known = False  # no proxy sends anything any more

    def handle(  # noqa: PLR0911 - one for each event
        self, event: RunEvent, now: Instant
    ) -> Sequence[RunEffect]:
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
            case RestartAsked(name):
                return self._asked(name, now)
            case DrainEnded(known):
                return self._drained(now, known=known)
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
                failed = self._end_restart(Phase.FAILED, "its port did not open in time")
                return (*failed, ExplainNeverReady(), *self._tell_program(now))
            case RunPhase.DRAINING:
                return self._drained(now, known=False)
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
        self._is_registered = True
        self._is_known = False
        return (Register(), *self._end_restart(Phase.DONE))

    def _asked(self, name: str, now: Instant) -> Sequence[RunEffect]:
        if self.phase is RunPhase.STARTING and not self._restart:
            self._restart = name  # it is as good as done once the port accepts
            return ()
        if self.phase is not RunPhase.SERVING:
            return () if name == self._restart else (Report(name, Phase.FAILED, "it is stopping"),)
        self._restart = name
        return (Report(name, Phase.DRAINING), *self._begin_drain(now))

    def _begin_drain(self, now: Instant) -> tuple[RunEffect, ...]:
        self.phase = RunPhase.DRAINING
        self._deadline = now + self._limits.drain + DRAIN_ANSWER_MAX
        return (Drain(),)

    def _drained(self, now: Instant, *, known: bool) -> Sequence[RunEffect]:
        if self.phase is not RunPhase.DRAINING:
            return ()
        self._is_known = known
        if not self._restart:
            return self._deregister(RunPhase.LEAVING, now)
        return self._tell_program(now) if known else self._begin_grace(now)

    def _deregister(self, phase: RunPhase, now: Instant) -> tuple[RunEffect, ...]:
        self.phase = phase
        self._is_registered = False
        self._is_deregistering = True
        self._deadline = now + DEREGISTRATION_MAX
        return (Deregister(),)

    def _program_ended(self, status: int, now: Instant) -> Sequence[RunEffect]:
        if self._restart and self.phase is not RunPhase.STARTING:
            self.phase = RunPhase.STARTING
            self._deadline = now + self._limits.ready
            return (StartProgram(), Report(self._restart, Phase.STARTING))
        was_starting = self.phase is RunPhase.STARTING
        if self._status is None:
            self._status = status if status >= 0 else SIGNAL_STATUS - status
        why = f"the program ended with status {self._status} before its port opened"
        ended: tuple[RunEffect, ...] = self._end_restart(Phase.FAILED, why)
        if was_starting:
            ended += (ExplainNeverServed(self._status),)
        elif self.phase is RunPhase.SERVING:
            ended += (ExplainEnded(self._status),)
        if self._is_registered:
            return ended + self._deregister(RunPhase.CLOSING, now)
        if self._is_deregistering:
            self.phase = RunPhase.CLOSING
            self._deadline = now + DEREGISTRATION_MAX
            return ended
        return ended + self._exit()

    def _stop(self, number: int, now: Instant) -> Sequence[RunEffect]:
        self._signal = number
        failed = self._end_restart(Phase.FAILED, "the program was stopped meanwhile")
        if failed and self.phase is RunPhase.DRAINING:
            return failed  # from now on for good
        match self.phase:
            case RunPhase.SERVING:
                return self._begin_drain(now)
            case RunPhase.DRAINING:
                return (*self._deregister(RunPhase.LEAVING, now), *self._tell_program(now))
            case RunPhase.STARTING | RunPhase.LEAVING | RunPhase.GRACE:
                return (*failed, *self._tell_program(now))
            case RunPhase.STOPPING:
                return (*failed, SendSignal(number))
            case RunPhase.CLOSING | RunPhase.ENDED:
                return self._exit() if self.phase is RunPhase.CLOSING else ()
            case _:
                assert_never(self.phase)

    def _deregistered(self, now: Instant) -> Sequence[RunEffect]:
        self._is_deregistering = False
        if self.phase is RunPhase.CLOSING:
            return self._exit()
        if self.phase is RunPhase.LEAVING:
            return self._tell_program(now) if self._is_known else self._begin_grace(now)
        return ()

    def _begin_grace(self, now: Instant) -> tuple[RunEffect, ...]:
        self.phase = RunPhase.GRACE
        self._deadline = now + self._limits.grace
        return ()

    def _tell_program(self, now: Instant) -> tuple[RunEffect, ...]:
        self.phase = RunPhase.STOPPING
        self._deadline = now + self._limits.stop
        told: tuple[RunEffect, ...] = (SendSignal(self._signal),)
        return (Report(self._restart, Phase.STOPPING), *told) if self._restart else told

    def _end_restart(self, phase: Phase, detail: str = "") -> tuple[RunEffect, ...]:
        name, self._restart = self._restart, ""
        return (Report(name, phase, detail),) if name else ()

    def _exit(self) -> tuple[RunEffect, ...]:
        assert self._status is not None, "only an ended program has nothing left to do"
        self.phase = RunPhase.ENDED
        self._deadline = None
        return (Exit(self._status),)
