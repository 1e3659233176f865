"""What the registry refuses."""

from __future__ import annotations

from moreton.registry.core.errors import (
    CheckUnknown,
    InstanceIdTaken,
    InstanceNotRegistered,
    InstanceNotValid,
    InstructionSuperseded,
    PortTaken,
    ProgramNotFound,
    ProgramNotStarted,
    RegistryBusy,
    RegistryError,
)

__all__ = [
    "CheckUnknown",
    "InstanceIdTaken",
    "InstanceNotRegistered",
    "InstanceNotValid",
    "InstructionSuperseded",
    "PortTaken",
    "ProgramNotFound",
    "ProgramNotStarted",
    "RegistryBusy",
    "RegistryError",
]
