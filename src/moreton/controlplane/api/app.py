"""The API as one ASGI application."""

from __future__ import annotations

import http
import time

from fastapi import Depends, FastAPI
from starlette.types import ASGIApp

from moreton import __version__
from moreton.config import ConfigRefused
from moreton.controlplane.api.auth import BearerAuth
from moreton.controlplane.api.changes import changes_router
from moreton.controlplane.api.halves import refuse_halves
from moreton.controlplane.api.history import history_router
from moreton.controlplane.api.looks import looks_router
from moreton.controlplane.api.parts import ApiParts
from moreton.controlplane.api.watches import Watches
from moreton.controlplane.api_instances import instances_router
from moreton.controlplane.comparing.api import comparisons_router
from moreton.controlplane.drains.api import drains_router
from moreton.controlplane.errors import (
    DefinedInFile,
    LastInstance,
    LeavesByItself,
    NotApplied,
    ObjectInUse,
    ObjectNotValid,
    Rejected,
    UnknownObject,
    WeightsNotValid,
)
from moreton.controlplane.limits.api import limits_router
from moreton.controlplane.migrations.api import migrations_router
from moreton.controlplane.migrations.errors import (
    MigrationRefuses,
    MigrationUnreadable,
    UnknownMigration,
)
from moreton.controlplane.problems import install_problems
from moreton.controlplane.rollouts.api import rollouts_router
from moreton.controlplane.rollouts.errors import NoRollout, NothingToRestart, NotRestartable
from moreton.controlplane.talkers.api import talkers_router
from moreton.kernel.errors import MoretonError
from moreton.registry.errors import InstructionSuperseded
from moreton.store.errors import RequestTooLarge, StoreError, StoreFull

STATUSES: dict[type[MoretonError], int] = {
    ConfigRefused: http.HTTPStatus.UNPROCESSABLE_ENTITY,
    DefinedInFile: http.HTTPStatus.CONFLICT,
    InstructionSuperseded: http.HTTPStatus.CONFLICT,
    LastInstance: http.HTTPStatus.CONFLICT,
    LeavesByItself: http.HTTPStatus.CONFLICT,
    MigrationRefuses: http.HTTPStatus.CONFLICT,
    UnknownMigration: http.HTTPStatus.NOT_FOUND,
    MigrationUnreadable: http.HTTPStatus.CONFLICT,
    NoRollout: http.HTTPStatus.NOT_FOUND,
    NothingToRestart: http.HTTPStatus.NOT_FOUND,
    NotRestartable: http.HTTPStatus.CONFLICT,
    ObjectInUse: http.HTTPStatus.CONFLICT,
    UnknownObject: http.HTTPStatus.NOT_FOUND,
    ObjectNotValid: http.HTTPStatus.UNPROCESSABLE_ENTITY,
    WeightsNotValid: http.HTTPStatus.UNPROCESSABLE_ENTITY,
    Rejected: http.HTTPStatus.UNPROCESSABLE_ENTITY,
    NotApplied: http.HTTPStatus.GATEWAY_TIMEOUT,
    # Whatever is wrong with the store, it is not the client's request.
    StoreError: http.HTTPStatus.SERVICE_UNAVAILABLE,
    RequestTooLarge: http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    StoreFull: http.HTTPStatus.INSUFFICIENT_STORAGE,
}


def create_app(parts: ApiParts, *, token: str) -> ASGIApp:
    """The application; every path but health and the API's description needs *token*."""
    watches = Watches(describe(parts), parts.notices, cut_off=parts.is_cut_off)
    return BearerAuth(watches, token=token)


def describe(parts: ApiParts) -> FastAPI:
    """The application without its lock, from which the OpenAPI document is made."""
    app = FastAPI(
        title="Moreton",
        version=__version__,
        summary="Routes, services, instances and weights of a gateway, and what became of them.",
        redoc_url=None,
    )
    install_problems(app, statuses=STATUSES)
    # But for instances: what a check saw is kept with ? in place of a half.
    whole = [Depends(refuse_halves)]
    app.include_router(changes_router(parts), dependencies=whole)
    app.include_router(looks_router(parts), dependencies=whole)
    app.include_router(
        instances_router(
            parts.registry,
            known=parts.known_instances,
            cut_off=parts.is_cut_off,
            commands=parts.may_run_commands,
            ejected=parts.ejected,
        )
    )
    leaving = drains_router(parts.registry, parts.drains, parts.instructions, parts.history)
    app.include_router(leaving, dependencies=whole)
    app.include_router(rollouts_router(parts.rollouts), dependencies=whole)
    app.include_router(migrations_router(parts.migrations, parts.control), dependencies=whole)
    app.include_router(comparisons_router(parts.comparisons), dependencies=whole)
    app.include_router(history_router(parts.history), dependencies=whole)
    limits = limits_router(parts.settings, parts.routes, parts.limit_orders)
    app.include_router(limits, dependencies=whole)
    app.include_router(talkers_router(parts.talkers, time.monotonic_ns), dependencies=whole)
    return app
