"""Draining, maintenance and instructions over HTTP."""

from __future__ import annotations

import http
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from moreton.controlplane.drains.host import Drains
from moreton.controlplane.drains.noting import note_drained
from moreton.controlplane.drains.orders import take_back, take_out
from moreton.registry import Registry
from moreton.registry.core.instance import check_service_name
from moreton.registry.core.instructions import Action, Phase, to_document
from moreton.registry.core.standing import InstanceState, Order
from moreton.registry.errors import InstanceNotRegistered
from moreton.registry.history import History
from moreton.registry.instructions import Instructions

_INSTANCE = "/services/{service}/instances/{instance_id}"
Wait: TypeAlias = Annotated[
    float, Query(ge=0, le=60, description="How many seconds to wait for the proxies at most.")
]


class Until(StrEnum):
    """What is waited for."""

    ACKNOWLEDGED = "acknowledged"  # no proxy sends anything new
    IDLE = "idle"  # nor has one a request under way


class OutBody(BaseModel):
    """Why an instance is taken out, and by whom."""

    model_config = ConfigDict(extra="forbid", strict=True)

    reason: str = ""
    by: str = "api"
    force: bool = False


class InstructionBody(BaseModel):
    """What is to be done with a program; the same *token* is the same instruction."""

    model_config = ConfigDict(extra="forbid", strict=True)

    action: Action = Field(strict=False)
    token: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")
    by: str = "api"


class ReportBody(BaseModel):
    """How far the attempt *name* at an instruction has come."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    phase: Phase = Field(strict=False)
    detail: str = ""


def drains_router(
    registry: Registry, drains: Drains, instructions: Instructions, history: History
) -> APIRouter:
    """The routes below `/v1` by which instances leave, and programs are told to."""
    router = APIRouter(prefix="/v1", tags=["leaving"])
    _add_drain(router, registry, drains, history)
    _add_maintenance(router, registry)
    _add_instructions(router, registry, instructions)
    return router


def _add_drain(router: APIRouter, registry: Registry, drains: Drains, history: History) -> None:
    async def progress(service: str, instance_id: str, until: Until, seconds: float) -> Any:
        found = await drains.wait(
            service,
            instance_id,
            lambda x: (
                x.idle or (x.acknowledged and until is Until.ACKNOWLEDGED) or drains.polls_end
            ),
            seconds,
        )
        if found.idle:
            await note_drained(drains, history, service, instance_id)
        return found.document()

    @router.post(f"{_INSTANCE}/drain")
    async def drain(
        service: str,
        instance_id: str,
        body: OutBody,
        until: Until = Until.IDLE,
        wait: Wait = 0.0,
    ) -> dict[str, Any]:
        """Send nothing new to an instance; answered when that is so, or after `wait` seconds.

        409 when it is the last one that serves, unless `force`. Again is the same.
        """
        order = Order(InstanceState.DRAINING, registry.wall(), reason=body.reason, by=body.by)
        await take_out(registry, service, instance_id, order, force=body.force)
        return await progress(service, instance_id, until, wait)  # type: ignore[no-any-return]

    @router.get(f"{_INSTANCE}/drain")
    async def how_far(
        service: str, instance_id: str, until: Until = Until.IDLE, wait: Wait = 0.0
    ) -> dict[str, Any]:
        """Which proxies know that nothing is sent to the instance, and what is under way there."""
        return await progress(service, instance_id, until, wait)  # type: ignore[no-any-return]

    @router.delete(f"{_INSTANCE}/drain", status_code=204)
    async def undo(service: str, instance_id: str) -> None:
        """Take a drain back; 409 when the program itself says that it is leaving."""
        await take_back(registry, service, instance_id, InstanceState.DRAINING)


def _add_maintenance(router: APIRouter, registry: Registry) -> None:
    @router.put(f"{_INSTANCE}/maintenance", status_code=204)
    async def begin(service: str, instance_id: str, body: OutBody) -> None:
        """Send nothing new to an instance until the end of its maintenance; 409 as for a drain."""
        order = Order(InstanceState.MAINTENANCE, registry.wall(), reason=body.reason, by=body.by)
        await take_out(registry, service, instance_id, order, force=body.force)

    @router.delete(f"{_INSTANCE}/maintenance", status_code=204)
    async def end(service: str, instance_id: str) -> None:
        """End its maintenance."""
        await take_back(registry, service, instance_id, InstanceState.MAINTENANCE)


def _add_instructions(router: APIRouter, registry: Registry, instructions: Instructions) -> None:
    @router.post(f"{_INSTANCE}/instruction")
    async def give(service: str, instance_id: str, body: InstructionBody) -> dict[str, Any]:
        """Tell whoever runs the program to stop it, or to start it anew; again is the same."""
        there = (await registry.instances(service)).instances
        if not any(each.id == instance_id for each in there):
            raise InstanceNotRegistered(service=service, instance_id=instance_id)
        given = await instructions.give(
            service, instance_id, body.action, token=body.token, by=body.by, anew=True
        )
        return to_document(given)

    @router.get(f"{_INSTANCE}/instruction", response_model=None)
    async def hear(
        service: str,
        instance_id: str,
        wait: Wait = 0.0,
        after: Annotated[str, Query(description="The attempt that was heard last.")] = "",
        since: Annotated[
            int | None, Query(ge=1, description="The revision that the first registration had.")
        ] = None,
    ) -> Response | dict[str, Any]:
        """An instruction that nobody has begun with; 204 when there is none in time."""
        found = await instructions.wait(
            service, instance_id, after=after, since=since, seconds=wait
        )
        return (
            Response(status_code=http.HTTPStatus.NO_CONTENT)
            if found is None
            else {**to_document(found)}
        )

    @router.get("/services/{service}/instructions")
    async def all_of(service: str) -> dict[str, Any]:
        """The latest instruction for each instance, whatever became of it."""
        check_service_name(service)
        found = await instructions.of(service)
        return {instance_id: to_document(each) for instance_id, each in found.items()}

    @router.put(f"{_INSTANCE}/instruction")
    async def report(service: str, instance_id: str, body: ReportBody) -> dict[str, Any]:
        """Tell how far an instruction has come; 409 when it is not the present one."""
        told = await instructions.report(service, instance_id, body.name, body.phase, body.detail)
        return to_document(told)
