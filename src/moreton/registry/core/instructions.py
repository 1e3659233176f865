"""What whoever runs a program is told to do with it: stop it, or start it anew.

Under `/moreton/instructions/SERVICE/ID`, apart from the registration: it outlives that, and says
afterwards what became of it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from moreton.registry.core.instance import InstanceId

PREFIX = b"/moreton/instructions/"
# What is told to people of it is cut there.
DETAIL_CHARS_MAX = 500


class Action(StrEnum):
    """What is to be done with the program."""

    STOP = "stop"
    RESTART = "restart"


class Phase(StrEnum):
    """How far an instruction has come."""

    ASKED = "asked"  # nobody has begun with it
    DRAINING = "draining"
    STOPPING = "stopping"
    STARTING = "starting"
    DONE = "done"  # the program serves again, or has stopped
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; the same *token* is the same one, each *attempt* at it has its number.

    *asked* is when this attempt was, *since* when it got to its *phase*.
    """

    action: Action
    token: str
    asked: datetime
    since: datetime
    attempt: int = 1
    by: str = ""
    phase: Phase = Phase.ASKED
    detail: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.phase in {Phase.DONE, Phase.FAILED}

    @property
    def name(self) -> str:
        """What tells it from every other, and each attempt from the others."""
        return f"{self.token}.{self.attempt}"


def service_prefix(service: str) -> bytes:
    """What the keys of the instructions for instances of *service* begin with."""
    return PREFIX + service.encode() + b"/"


def instruction_key(service: str, instance_id: str) -> bytes:
    """Where the instruction for an instance lies."""
    return service_prefix(service) + instance_id.encode()


def parse_key(key: bytes) -> tuple[str, InstanceId]:
    """The service and the id that a key is about."""
    service, _, instance_id = key.removeprefix(PREFIX).decode(errors="replace").partition("/")
    return service, InstanceId(instance_id)


def to_document(instruction: Instruction) -> dict[str, Any]:
    """The instruction as JSON values."""
    return {
        "action": instruction.action.value,
        "token": instruction.token,
        "attempt": instruction.attempt,
        "by": instruction.by,
        "asked": _moment(instruction.asked),
        "phase": instruction.phase.value,
        "since": _moment(instruction.since),
        "detail": instruction.detail,
    }


def encode(instruction: Instruction) -> bytes:
    """The value in the store."""
    return json.dumps(to_document(instruction), separators=(",", ":")).encode()


def decode(value: bytes) -> Instruction | None:
    """The instruction that `encode` wrote; `None` for anything else."""
    try:
        return from_document(json.loads(value))
    except ValueError:
        return None


def from_document(found: Any) -> Instruction | None:
    """The instruction in JSON values; `None` for anything else."""
    try:
        return Instruction(
            action=Action(found["action"]),
            token=str(found["token"]),
            asked=datetime.fromisoformat(found["asked"]),
            since=datetime.fromisoformat(found["since"]),
            attempt=int(found["attempt"]),
            by=str(found.get("by", "")),
            phase=Phase(found["phase"]),
            detail=str(found.get("detail", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
