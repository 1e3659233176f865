"""All programs of `run:` services, kept as `moreton.yaml` says now."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from moreton.controlplane.development.program import ProcessStatistics, Program
from moreton.gateway.config import RunModel
from moreton.registry.core.instance import InstanceId
from moreton.registry.core.instructions import Action, Instruction, Phase
from moreton.registry.errors import InstructionSuperseded, RegistryBusy
from moreton.registry.host import Registry
from moreton.registry.instructions import Instructions
from moreton.store.errors import StoreError

__all__ = ["DevelopmentProcesses", "ProcessStatistics"]

# As long as a rollout waits for one by itself.
_RESTART_SECONDS_MAX = 120.0


class DevelopmentProcesses:
    """The programs; their files are in *folder*, and relative paths begin in *base*.

    Each registers in *registry* under its service's name as soon as it answers, so a service with
    `run:` is found like any other. *node* tells its instance from those of other nodes.
    """

    def __init__(
        self,
        folder: Path,
        *,
        base: Path,
        registry: Registry,
        drained: Callable[[str, str], Awaitable[None]],
        instructions: Instructions,
        say: Callable[[str], None],
        node: str = "",
    ) -> None:
        self._folder = folder
        self._base = base
        self._registry = registry
        self._drained = drained
        self._instructions = instructions
        self._say = say
        self._ending = f"-{node}" if node else ""
        self._programs: dict[str, Program] = {}
        self._restarting: dict[str, asyncio.Task[None]] = {}
        self._carried_out: set[str] = set()
        instructions.on_news(self._hear)

    async def replace(self, runs: Mapping[str, RunModel]) -> None:
        """Run exactly *runs*: start what is new, stop what is gone, restart what changed."""
        stopping = [
            name for name, program in self._programs.items() if runs.get(name) != program.run
        ]
        await asyncio.gather(*(self._programs.pop(name).stop() for name in stopping))
        for name, run in runs.items():
            if name not in self._programs:
                program = Program(
                    name,
                    run,
                    instance=InstanceId(f"run-{name}{self._ending}"),
                    folder=self._folder,
                    base=self._base,
                    registry=self._registry,
                    drained=self._drained,
                    say=self._say,
                )
                self._programs[name] = program
                program.start()
                told = self._instructions.get(name, program.instance_id)
                if told is not None:  # the control plane before this one did not get to its end
                    self._hear(name, program.instance_id, told)

    async def stop(self) -> None:
        """Stop them all."""
        await self._end_restarts()
        await self.replace({})

    async def detach(self) -> None:
        """Leave them running, for a later control plane to adopt."""
        await self._end_restarts()
        await asyncio.gather(*(program.detach() for program in self._programs.values()))
        self._programs.clear()

    def _hear(self, service: str, instance_id: InstanceId, told: Instruction) -> None:
        program = self._programs.get(service)
        if program is None or program.instance_id != instance_id or told.is_over:
            return
        if service not in self._restarting and told.name not in self._carried_out:
            self._carried_out.add(told.name)
            work = self._carry_out(service, program, told)
            self._restarting[service] = asyncio.create_task(work, name=f"restart {service}")

    async def _carry_out(self, service: str, program: Program, told: Instruction) -> None:
        async def report(phase: Phase, detail: str = "") -> None:
            with contextlib.suppress(InstructionSuperseded, RegistryBusy, StoreError):
                await self._instructions.report(
                    service, program.instance_id, told.name, phase, detail
                )

        try:
            if told.action is Action.STOP:
                why = "moreton.yaml says that it runs: take its `run:` out to stop it"
                await report(Phase.FAILED, why)
                return
            try:
                async with asyncio.timeout(_RESTART_SECONDS_MAX):
                    await program.restart(report)
            except TimeoutError:
                why = f"it does not serve after {_RESTART_SECONDS_MAX:g} s; see its log"
                await report(Phase.FAILED, why)
            else:
                await report(Phase.DONE)
        finally:
            self._restarting.pop(service, None)

    async def _end_restarts(self) -> None:
        tasks = list(self._restarting.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def statistics(self) -> Sequence[ProcessStatistics]:
        """What became of each so far, by name."""
        return [self._programs[name].statistics() for name in sorted(self._programs)]
