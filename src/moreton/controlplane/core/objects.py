"""The objects of the control plane: what they are called, where they were defined."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

from moreton.gateway.core.model import Gateway, Route, Service
from moreton.ratelimit.core.rules.values import LimitRule

Value: TypeAlias = Gateway | Service | Route | LimitRule


class Kind(StrEnum):
    """What an object is."""

    GATEWAY = "gateway"
    SERVICE = "service"
    ROUTE = "route"
    LIMIT = "limit"


class ObjectKey(NamedTuple):
    """Which object: its kind and its name."""

    kind: Kind
    name: str

    def __str__(self) -> str:
        return f'{self.kind} "{self.name}"'


class Origin(StrEnum):
    """Who defined an object."""

    FILE = "file"
    API = "api"


@dataclass(frozen=True, slots=True)
class Definition:
    """An object's value as defined; *where* is its `file:line:column`, empty for the API."""

    value: Value
    origin: Origin
    where: str = ""


class State(StrEnum):
    """How far an object has come."""

    PENDING = "pending"
    APPLIED = "applied"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Status:
    """How far an object has come on the way to *proxies* proxies, and why it got stuck."""

    state: State
    applied: int = 0
    proxies: int = 0
    reason: str = ""

    def __str__(self) -> str:
        """`pending`, `applied 1/1`, or `rejected: why`."""
        if self.state is State.REJECTED:
            return f"rejected: {self.reason}"
        if self.state is State.APPLIED:
            return f"applied {self.applied}/{self.proxies}"
        return f"pending {self.applied}/{self.proxies}" if self.proxies else "pending"


def worst(statuses: list[Status]) -> Status:
    """The status that says most of what is left to be done: rejected, then pending."""
    order = (State.REJECTED, State.PENDING, State.APPLIED)
    return min(statuses, key=lambda status: order.index(status.state))
