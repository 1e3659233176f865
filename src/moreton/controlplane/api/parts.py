"""What the API is put together from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from moreton.controlplane.api.events import Events
from moreton.controlplane.api.notices import Notices
from moreton.controlplane.comparing.host import Comparisons
from moreton.controlplane.drains import Drains
from moreton.controlplane.limits.orders import LimitOrders
from moreton.controlplane.migrations.host import Migrations
from moreton.controlplane.objects import Control
from moreton.controlplane.objects.views import Views
from moreton.controlplane.rollouts import Rollouts
from moreton.controlplane.settings import Settings
from moreton.gateway.core.model import Route
from moreton.ratelimit.seeing.core.board import Board
from moreton.registry import InstanceView, Registry
from moreton.registry.history import History
from moreton.registry.instructions import Instructions

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether everything is in force, and if not, what is missing."""

    ready: bool
    reasons: Sequence[str]


@dataclass(frozen=True, slots=True)
class Request:
    """A request that may never have happened, to be explained."""

    method: str
    url: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ApiParts:
    """What the API is put together from."""

    control: Control
    views: Views
    registry: Registry
    known_instances: InstanceView
    drains: Drains
    instructions: Instructions
    rollouts: Rollouts
    migrations: Migrations
    comparisons: Comparisons
    history: History
    is_cut_off: Callable[[], bool]
    may_run_commands: Callable[[], bool]
    ejected: Callable[[], Awaitable[frozenset[str]]]
    events: Events
    notices: Notices
    health: Callable[[], Health]
    status: Callable[[], Document]
    proxies: Callable[[], list[Document]]
    metrics: Callable[[], Awaitable[bytes]]
    explain: Callable[[Request], Document]
    talkers: Board
    settings: Callable[[], Settings]
    routes: Callable[[], Iterable[Route]]
    limit_orders: LimitOrders
