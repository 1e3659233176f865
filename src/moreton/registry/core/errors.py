"""The registry's errors; `moreton.registry.errors` is where others find them."""

from __future__ import annotations

from collections.abc import Sequence

from moreton.kernel.errors import MoretonError, RetryAdvice


class RegistryError(MoretonError):
    """The root of the registry's errors."""


class InstanceNotValid(RegistryError, ValueError):
    """Something about an instance cannot be right; *faults* holds all of it at once."""

    code = "instance-not-valid"

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))


class InstanceNotRegistered(RegistryError):
    """Nobody is registered under that id: it never was, or its lease ended."""

    code = "instance-not-registered"
    retry = RetryAdvice.NOW

    def __init__(self, *, service: str, instance_id: str) -> None:
        self.service = service
        self.instance_id = instance_id
        super().__init__(
            f'instance "{instance_id}" of service "{service}" is not registered, or its lease '
            "ended: nothing is sent to it; register it again"
        )


class InstanceIdTaken(RegistryError):
    """The id belongs to a living instance at another address."""

    code = "instance-id-taken"
    retry = RetryAdvice.AFTER

    def __init__(self, *, service: str, instance_id: str, holder: str, asked: str) -> None:
        self.service = service
        self.instance_id = instance_id
        self.holder = holder
        super().__init__(
            f'instance "{instance_id}" of service "{service}" lives at {holder}: {asked} was not '
            f"registered; choose another id, or stop the one at {holder} and try again"
        )


class CheckUnknown(RegistryError):
    """Something was reported of a check that the instance does not have, or that is looked at."""

    code = "check-unknown"

    def __init__(self, *, service: str, instance_id: str, check: str, known: Sequence[str]) -> None:
        self.service = service
        self.instance_id = instance_id
        self.check = check
        others = f"; report one of {', '.join(known)}" if known else ""
        super().__init__(
            f'instance "{instance_id}" of service "{service}" has no check "{check}" with a ttl: '
            f"what was reported counts for nothing{others or '; register it with such a check'}"
        )


class RegistryBusy(RegistryError):
    """Others changed the same instance each time that it was tried."""

    code = "registry-busy"
    retry = RetryAdvice.AFTER

    def __init__(self, *, service: str, instance_id: str, attempts: int) -> None:
        super().__init__(
            f'instance "{instance_id}" of service "{service}" was changed by others during each '
            f"of {attempts} attempts: nothing was written; try again, and look for two programs "
            "that use the same id"
        )


class PortTaken(RegistryError):
    """Another program answers where the one to be started should."""

    code = "program-port-taken"
    retry = RetryAdvice.AFTER

    def __init__(self, *, service: str, address: str, port: int) -> None:
        self.port = port
        super().__init__(
            f"another program accepts connections at {address}:{port}: it would be registered as "
            f'"{service}" instead of yours, so nothing was started; stop it, or choose another '
            "port (--port 0 takes a free one)"
        )


class ProgramNotFound(RegistryError):
    """The command names no program."""

    code = "program-not-found"

    def __init__(self, *, program: str) -> None:
        self.program = program
        super().__init__(
            f'there is no program "{program}", neither in this folder nor on PATH: nothing was '
            "started; correct the command after --"
        )


class ProgramNotStarted(RegistryError):
    """The operating system refused to start the program."""

    code = "program-not-started"

    def __init__(self, *, program: str, reason: str) -> None:
        self.program = program
        super().__init__(
            f'"{program}" cannot be started, {reason}: nothing was registered; '
            "check that it is a program, and that this user may run it"
        )


class InstructionSuperseded(RegistryError):
    """Somebody reported on an instruction that is not the instance's any more."""

    code = "instruction-superseded"

    def __init__(self, *, service: str, instance_id: str, name: str) -> None:
        super().__init__(
            f'instruction "{name}" is not the one that instance "{instance_id}" of service '
            f'"{service}" has: what was told of it is not kept; ask for the present one'
        )
