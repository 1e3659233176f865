"""Rollouts over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from moreton.controlplane.errors import ObjectNotValid
from moreton.controlplane.rollouts.host import Rollouts, Wish
from moreton.kernel.quantities import parse_duration
from moreton.registry.core.instance import check_service_name

_PATH = "/services/{service}/rollout"
_BATCH_MAX = 1000
Wait: TypeAlias = Annotated[
    float, Query(ge=0, le=60, description="How many seconds to wait for a change at most.")
]


class RolloutBody(BaseModel):
    """How a rollout is to be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    by: str = Field(default="api", max_length=255)
    batch: int = Field(default=1, ge=1, le=_BATCH_MAX)
    limit: str = "2m"
    force: bool = False
    anew: bool = False


def rollouts_router(rollouts: Rollouts) -> APIRouter:
    """The routes below `/v1` by which a service is started anew."""
    router = APIRouter(prefix="/v1", tags=["leaving"])

    @router.post(_PATH)
    async def begin(service: str, body: RolloutBody) -> dict[str, Any]:
        """Begin a rollout, or go on with the one that stopped; `advance` does what is next."""
        check_service_name(service)
        try:
            limit = parse_duration(body.limit)
        except ValueError as error:
            raise ObjectNotValid(f"limit: {error}") from error
        wish = Wish(body.by, body.batch, limit, body.force, body.anew)
        return await rollouts.begin(service, wish)

    @router.post(f"{_PATH}/advance")
    async def advance(service: str, wait: Wait = 0.0) -> dict[str, Any]:
        """Do what is next, and answer when something changed, or after `wait` seconds."""
        check_service_name(service)
        return await rollouts.advance(service, wait)

    @router.get(_PATH)
    async def show(service: str) -> dict[str, Any]:
        """The latest rollout of the service."""
        check_service_name(service)
        return await rollouts.show(service)

    @router.delete(_PATH, status_code=204)
    async def abandon(service: str) -> None:
        """End it where it is."""
        check_service_name(service)
        await rollouts.abandon(service)

    return router
