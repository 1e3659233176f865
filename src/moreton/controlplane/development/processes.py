"""All programs of `run:` services, kept as `moreton.yaml` says now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from moreton.controlplane.development.program import ProcessStatistics, Program
from moreton.gateway.config import RunModel
from moreton.registry.core.instance import InstanceId
from moreton.registry.host import Registry

__all__ = ["DevelopmentProcesses", "ProcessStatistics"]


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
        say: Callable[[str], None],
        node: str = "",
    ) -> None:
        self._folder = folder
        self._base = base
        self._registry = registry
        self._say = say
        self._ending = f"-{node}" if node else ""
        self._programs: dict[str, Program] = {}

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
                    say=self._say,
                )
                self._programs[name] = program
                program.start()

    async def stop(self) -> None:
        """Stop them all."""
        await self.replace({})

    async def detach(self) -> None:
        """Leave them running, for a later control plane to adopt."""
        await asyncio.gather(*(program.detach() for program in self._programs.values()))
        self._programs.clear()

    def statistics(self) -> Sequence[ProcessStatistics]:
        """What became of each so far, by name."""
        return [self._programs[name].statistics() for name in sorted(self._programs)]
