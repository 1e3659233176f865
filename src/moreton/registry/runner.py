"""What `moreton run` does: any program, registered for as long as it serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import assert_never

from moreton.kernel.errors import MoretonError
from moreton.kernel.ports import free_port
from moreton.kernel.quantities import format_duration
from moreton.kernel.time import Clock, SystemClock
from moreton.registry.client import Registration, register
from moreton.registry.core.instance import TTL_DEFAULT, Instance, InstanceId, check_ttl
from moreton.registry.core.instructions import Action, Instruction, Phase
from moreton.registry.core.run import (
    SIGNAL_STATUS,
    Deregister,
    DeregistrationEnded,
    Drain,
    DrainEnded,
    Exit,
    ExplainEnded,
    ExplainNeverReady,
    ExplainNeverServed,
    KillProgram,
    PortAccepted,
    ProgramEnded,
    Register,
    Report,
    RestartAsked,
    Run,
    RunEffect,
    RunEvent,
    RunLimits,
    SendSignal,
    StartProgram,
    StopSignalled,
)
from moreton.registry.core.standing import InstanceSource
from moreton.registry.errors import PortTaken
from moreton.registry.listening import LOOPBACK, accepting_address, listening_ports
from moreton.registry.programs import signals_as_events, start_program

# As shells report a command that is not there.
NEVER_STARTED_STATUS = 127
# The port is looked at this often: soon after the start, then less.
_PROBE_SECONDS_FIRST = 0.02
_PROBE_SECONDS_MAX = 0.25
# What a program left behind has so long to let go of its port when it is started anew.
_PORT_SECONDS_MAX = 5.0
# Who asked for a restart is told of its end once the registry has it.
_SERVING_SECONDS_MAX = 10.0
_REPORTS_SECONDS_MAX = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A program and what to register for it.

    *port* 0 takes a free one. The port is in `$PORT`, and in the command where it says `{port}`.
    Without *address* the program is looked for on loopback, and registered at the address from
    which this machine reaches the control plane.

    Raises `InstanceNotValid`, `ValueError` for an empty command.
    """

    service: str
    command: tuple[str, ...]
    port: int = 0
    address: str | None = None
    id: str | None = None
    ttl: timedelta = TTL_DEFAULT
    zone: str = ""
    weight: int = 1
    version: str = ""
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    api: str | None = None
    token: str | None = None
    limits: RunLimits = field(default_factory=RunLimits)

    def __post_init__(self) -> None:
        if not self.command:
            raise ValueError("there is no command to run; write it after --")
        check_ttl(self.ttl)
        Instance(
            id=InstanceId(self.id if self.id is not None else "any"),
            service=self.service,
            address=self.address or LOOPBACK[0],
            port=self.port or 1,
            zone=self.zone,
            weight=self.weight,
            version=self.version,
            tags=self.tags,
            metadata=self.metadata,
        )


async def run_program(plan: Plan, say: Callable[[str], None], *, clock: Clock | None = None) -> int:
    """Run it to its end; the status to exit with: its own, or 128 + n for signal n.

    124 says that the port did not open in time. *say* is told what people should know. From the
    main thread only: it takes this process's signals. Raises `PortTaken`, `ProgramNotFound`,
    `ProgramNotStarted`.
    """
    port = plan.port or free_port()
    taken = await accepting_address(_probed(plan), port)
    if taken is not None:
        raise PortTaken(service=plan.service, address=taken, port=port)
    events: asyncio.Queue[RunEvent] = asyncio.Queue()
    async with signals_as_events(events):
        program = await start_program(plan.command, port)
        runner = _Runner(plan, program, events, port=port, say=say, clock=clock or SystemClock())
        return await runner.run()


class _Runner:
    """Drives one `Run`."""

    def __init__(
        self,
        plan: Plan,
        program: asyncio.subprocess.Process,
        events: asyncio.Queue[RunEvent],
        *,
        port: int,
        say: Callable[[str], None],
        clock: Clock,
    ) -> None:
        self._plan = plan
        self._port = port
        self._program = program
        self._say = say
        self._clock = clock
        self._events = events
        self._machine = Run(plan.limits, clock.now())
        self._reports: asyncio.Queue[Report] = asyncio.Queue()
        self._stop_asked = ""  # the name of the instruction to stop
        self._registration: Registration | None = None
        self._found_at = LOOPBACK[0]
        self._status: int | None = None

    async def run(self) -> int:
        tasks = [
            asyncio.create_task(self._watch_program(self._program)),
            asyncio.create_task(self._probe()),
            asyncio.create_task(self._send_reports()),
        ]
        try:
            while self._status is None:
                for effect in await self._next_effects():
                    self._perform(effect, tasks)
            await self._end_reports()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # What the program left behind would hold its port.
            self._signal_group(signal.SIGTERM)
        return self._status

    async def _next_effects(self) -> Sequence[RunEffect]:
        deadline = self._machine.deadline()
        wait = None if deadline is None else (deadline - self._clock.now()).total_seconds()
        try:
            async with asyncio.timeout(wait):
                event = await self._events.get()
        except TimeoutError:
            return self._machine.wake(self._clock.now())
        return self._machine.handle(event, self._clock.now())

    def _perform(self, effect: RunEffect, tasks: list[asyncio.Task[None]]) -> None:
        match effect:
            case Register():
                self._registration = self._serve(self._registration)
            case Drain():
                tasks.append(asyncio.create_task(self._drain()))
            case StartProgram():
                tasks.append(asyncio.create_task(self._start_again(tasks)))
            case Report():
                self._reports.put_nowait(effect)
            case Deregister():
                tasks.append(asyncio.create_task(self._deregister()))
            case SendSignal(number):
                with contextlib.suppress(ProcessLookupError):
                    self._program.send_signal(number)
            case KillProgram():
                self._say(
                    f"the program did not stop within {format_duration(self._plan.limits.stop)}: "
                    "it is killed; give it longer with --stop-timeout"
                )
                self._signal_group(signal.SIGKILL)
            case ExplainNeverReady():
                self._say(self._never_ready())
            case ExplainNeverServed(status):
                never = "never" if self._registration is None else "not any more"
                self._say(
                    f"the program ended with {_shown(status)} before it accepted connections on "
                    f"port {self._port}: it was {never} registered; see what it said above"
                )
            case ExplainEnded(status):
                self._say(
                    f"the program ended with {_shown(status)} while it served: nothing is sent to "
                    "it any more; see what it said above"
                )
            case Exit(status):
                self._status = status
            case _:
                assert_never(effect)

    async def _watch_program(self, program: asyncio.subprocess.Process) -> None:
        self._events.put_nowait(ProgramEnded(await program.wait()))

    async def _probe(self) -> None:
        pause = _PROBE_SECONDS_FIRST
        while True:
            found = await accepting_address(_probed(self._plan), self._port)
            if found is not None:
                self._found_at = found
                self._events.put_nowait(PortAccepted())
                return
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _PROBE_SECONDS_MAX)

    def _serve(self, registration: Registration | None) -> Registration:
        if registration is None:
            return self._register()
        registration.serve()
        return registration

    def _register(self) -> Registration:
        plan = self._plan
        # Only IPv6 loopback answers: the address of an IPv4 connection would lead nowhere.
        found = self._found_at if self._found_at != LOOPBACK[0] else None
        registration = register(
            plan.service,
            port=self._port,
            address=plan.address or found,
            id=plan.id,
            ttl=plan.ttl,
            zone=plan.zone,
            weight=plan.weight,
            version=plan.version,
            tags=plan.tags,
            metadata=plan.metadata,
            source=InstanceSource.RUN,
            api=plan.api,
            token=plan.token,
            leave_on_sigterm=False,
        )
        loop = asyncio.get_running_loop()

        def hear(instruction: Instruction) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._hear, instruction)

        registration.listen(hear)
        return registration

    def _hear(self, instruction: Instruction) -> None:
        if self._stop_asked:
            return  # once is enough: a second signal tells many programs to hurry
        by = f" by {instruction.by}" if instruction.by else ""
        self._say(f"told{by} to {instruction.action} the program")
        if instruction.action is Action.RESTART:
            self._events.put_nowait(RestartAsked(instruction.name))
            return
        self._stop_asked = instruction.name
        self._reports.put_nowait(Report(instruction.name, Phase.STOPPING))
        self._events.put_nowait(StopSignalled(signal.SIGTERM))

    async def _drain(self) -> None:
        assert self._registration is not None, "only what was registered is drained"
        limit = self._plan.limits.drain
        found = await self._registration.adrain(limit)
        if found.unknown:
            self._say(f"stopping without a wait for requests under way: {found.unknown}")
        elif not found.idle:
            self._say(f"not waiting for {found.waits_for} any longer; longer with --drain-timeout")
        self._events.put_nowait(DrainEnded(known=found.acknowledged))

    async def _deregister(self) -> None:
        assert self._registration is not None, "only what was registered is deregistered"
        await self._registration.aclose()
        self._events.put_nowait(DeregistrationEnded())

    async def _start_again(self, tasks: list[asyncio.Task[None]]) -> None:
        """Once nobody answers at the port any more."""
        self._signal_group(signal.SIGTERM)
        try:
            async with asyncio.timeout(_PORT_SECONDS_MAX):
                while await accepting_address(_probed(self._plan), self._port) is not None:
                    await asyncio.sleep(_PROBE_SECONDS_FIRST)
        except TimeoutError:
            self._signal_group(signal.SIGKILL)
        try:
            self._program = await start_program(self._plan.command, self._port)
        except MoretonError as error:
            self._say(str(error))
            self._events.put_nowait(ProgramEnded(NEVER_STARTED_STATUS))
            return
        tasks.append(asyncio.create_task(self._watch_program(self._program)))
        tasks.append(asyncio.create_task(self._probe()))

    async def _send_reports(self) -> None:
        """In their order, so that the last word stays."""
        while True:
            report = await self._reports.get()
            try:
                await self._send(report)
            finally:
                self._reports.task_done()

    async def _send(self, report: Report) -> None:
        registration = self._registration
        if registration is None:
            return
        if report.phase is Phase.DONE and report.name != self._stop_asked:
            await asyncio.to_thread(registration.wait_serving, _SERVING_SECONDS_MAX)
        await asyncio.to_thread(registration.report, report.name, report.phase, report.detail)

    async def _end_reports(self) -> None:
        if self._registration is not None:
            self._registration.listen(None)
        if self._stop_asked:
            ended = f"the program ended with status {self._status}"
            self._reports.put_nowait(Report(self._stop_asked, Phase.DONE, ended))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REPORTS_SECONDS_MAX):
                await self._reports.join()

    def _signal_group(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._program.pid, number)

    def _never_ready(self) -> str:
        found = listening_ports(self._program.pid)
        others = ", ".join(str(port) for port in found if port != self._port)
        listens = f"; it listens on {others} instead" if others else ""
        return (
            f"the program did not accept connections at {_probed(self._plan)[0]}:{self._port} "
            f"within {format_duration(self._plan.limits.ready)}{listens}: it was not registered "
            f"and is stopped; let it listen on {self._port} (it is in $PORT, and in the command "
            "where that says {port}), name its address with --address, or wait longer with "
            "--ready-timeout"
        )


def _probed(plan: Plan) -> tuple[str, ...]:
    return LOOPBACK if plan.address is None else (plan.address,)


def _shown(status: int) -> str:
    try:
        return f"status {status} ({signal.Signals(status - SIGNAL_STATUS).name})"
    except ValueError:
        return f"status {status}"
