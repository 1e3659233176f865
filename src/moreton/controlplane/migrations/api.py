"""Migrations over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from moreton.controlplane.core.objects import Kind, ObjectKey
from moreton.controlplane.migrations.host import Migrations
from moreton.controlplane.objects import Control
from moreton.strangler.reporting import (
    Report,
    as_markdown,
    as_page,
    as_picture,
    report_document,
)
from moreton.strangler.rollout.core.progress import Order, Ordered

_RENDERED: Mapping[str, tuple[str, Callable[[Report], str]]] = {
    "md": ("text/markdown", as_markdown),
    "html": ("text/html", as_page),
    "svg": ("image/svg+xml", as_picture),
}


class OrderBody(BaseModel):
    """Who orders it, and why; by *force* against what gates or the plan say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    by: str = Field(default="api", max_length=255)
    because: str = Field(default="", max_length=1000)
    force: bool = False


def migrations_router(migrations: Migrations, control: Control) -> APIRouter:
    """The routes below `/v1/migrations`."""
    router = APIRouter(prefix="/v1/migrations", tags=["migrations"])

    @router.get("")
    async def everything() -> list[dict[str, Any]]:
        """All migrations by name, with those of moreton.yaml that nobody started yet."""
        return await migrations.all()

    @router.get("/{name}")
    async def show(name: str) -> dict[str, Any]:
        """How far it is, what each gate says of this stage, and what it waits for."""
        return await migrations.show(name)

    @router.get("/{name}/history")
    async def history(name: str) -> list[dict[str, Any]]:
        """What happened to it, oldest first; the last 500 entries."""
        return await migrations.history(name)

    @router.post("/{name}/{order}")
    async def order(
        name: str,
        order: Order,
        body: OrderBody | None = None,
        wait: Annotated[
            Literal["applied"] | None, Query(description="Answer once proxies have the weights.")
        ] = None,
    ) -> dict[str, Any]:
        """Start it, let a stage go on, pause, freeze, resume, roll back, declare no return."""
        given = body or OrderBody()
        ordered = Ordered(order, given.by, given.because, given.force)
        found, revision = await migrations.order(name, ordered)
        if wait is not None:
            await control.follower.wait_revision(revision)
            await control.wait_applied(ObjectKey(Kind.ROUTE, found["route"]))
        return found

    _add_report(router, migrations)
    return router


def _add_report(router: APIRouter, migrations: Migrations) -> None:
    @router.get("/{name}/report", response_model=None)
    async def report(
        name: str,
        form: Annotated[
            Literal["json", "md", "html", "svg"],
            Query(alias="format", description="JSON, Markdown, a page, or its picture."),
        ] = "json",
    ) -> dict[str, Any] | Response:
        """All that is known of it: what moved, was found and proven; also while it goes on."""
        found = await migrations.report(name)
        if form == "json":
            return await asyncio.to_thread(report_document, found)
        kind, render = _RENDERED[form]
        return Response(await asyncio.to_thread(render, found), media_type=kind)
