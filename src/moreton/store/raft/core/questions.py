"""What members and operators ask a node beside its work, and its answers: JSON, both ways.

A question names what to do; an answer holds what came of it, or which error, with its values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from moreton.kernel.errors import MoretonError
from moreton.store.raft.errors import (
    AddressTaken,
    ClusterRefused,
    LastVoter,
    MajorityAtRisk,
    UnknownMember,
)

# Those that mean the same on every node; of others the words arrive.
_ERRORS: Final[dict[str, tuple[type[MoretonError], tuple[str, ...]]]] = {
    AddressTaken.code: (AddressTaken, ("address", "node")),
    LastVoter.code: (LastVoter, ("node",)),
    MajorityAtRisk.code: (MajorityAtRisk, ("node", "silent", "voters")),
    UnknownMember.code: (UnknownMember, ("node", "members")),
}


def pack_question(do: str, **values: object) -> bytes:
    """A question that `read_question` reads."""
    return json.dumps({"do": do, **values}).encode()


def read_question(data: bytes) -> tuple[str, dict[str, Any]]:
    """What to do, and with which values. Raises `ValueError` or `LookupError`."""
    found: dict[str, Any] = json.loads(data)
    return str(found.pop("do")), found


def pack_answer(values: Mapping[str, object]) -> bytes:
    """What came of it."""
    return json.dumps({"is": values}).encode()


def pack_error(error: MoretonError) -> bytes:
    """Why nothing came of it."""
    _, names = _ERRORS.get(error.code, (None, ()))
    values = {name: getattr(error, name) for name in names}
    return json.dumps({"error": error.code, "says": str(error), "values": values}).encode()


def read_answer(data: bytes) -> dict[str, Any]:
    """What came of it. Raises the error that the node answered with, or `ValueError`."""
    found = json.loads(data)
    if "error" not in found:
        values = found["is"]
        assert isinstance(values, dict)
        return values
    kind, _ = _ERRORS.get(found["error"], (None, ()))
    if kind is not None:
        raise kind(**found["values"])
    raise ClusterRefused(cause=found["error"], says=found["says"])
