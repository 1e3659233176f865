"""Comparisons over HTTP."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from moreton.controlplane.comparing.host import Comparisons
from moreton.controlplane.errors import ObjectNotValid

_ROUTES_MAX = 10_000


class HeardBody(BaseModel):
    """Which process tells it, and what it counted since it began, by route."""

    model_config = ConfigDict(extra="forbid", strict=True)

    run: str = Field(max_length=64)
    counts: dict[str, dict[str, int]] = Field(default={}, max_length=_ROUTES_MAX)


def comparisons_router(comparisons: Comparisons) -> APIRouter:
    """The routes below `/v1/comparisons`."""
    router = APIRouter(prefix="/v1/comparisons", tags=["migrations"])

    @router.get("")
    async def everything() -> list[dict[str, Any]]:
        """What is compared, which share of it now or why none, and what came of it."""
        return await comparisons.document()

    @router.post("/heard")
    async def heard(body: HeardBody) -> list[dict[str, Any]]:
        """A collector lives, and asks what it has to do; for collectors."""
        try:
            return comparisons.hear(body.run, body.counts)
        except ValueError as error:
            raise ObjectNotValid(str(error)) from error

    return router
