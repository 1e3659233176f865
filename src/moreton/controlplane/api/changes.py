"""Routes, services and weights: read them, put them, delete them."""

from __future__ import annotations

import http
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Body, Query, Response

from moreton.controlplane.api.parts import ApiParts, Document
from moreton.controlplane.core.objects import Kind, ObjectKey
from moreton.controlplane.objects.control import WAIT_SECONDS


class Wait(StrEnum):
    """When the answer comes: once stored, or once every proxy has it in force."""

    STORED = "stored"
    APPLIED = "applied"


WaitFor: TypeAlias = Annotated[
    Wait, Query(description="Answer once stored, or once every proxy has it in force.")
]
Timeout: TypeAlias = Annotated[
    float, Query(gt=0, le=60, description="How many seconds to wait for the proxies at most.")
]
Spec: TypeAlias = Annotated[
    dict[str, Any], Body(description="The object as moreton.yaml would have it, as JSON.")
]
# Not strict about floats would be surprising: 0.5 is not a weight, and true is not 1.
Weights: TypeAlias = Annotated[
    dict[str, Annotated[int, Body(strict=True)]],
    Body(description="Every destination of the route with its weight, such as shop: 90."),
]


def changes_router(parts: ApiParts) -> APIRouter:
    """`/v1/routes`, `/v1/services` and the weights."""
    router = APIRouter(prefix="/v1")
    for folder, kind, listed in (
        ("routes", Kind.ROUTE, parts.views.routes),
        ("services", Kind.SERVICE, parts.views.services),
    ):
        router.add_api_route(
            f"/{folder}", listed, methods=["GET"], tags=[folder], summary=f"All {folder}"
        )
        _add_object(router, parts, folder, kind)
    _add_weights(router, parts)
    return router


def _add_object(router: APIRouter, parts: ApiParts, folder: str, kind: Kind) -> None:
    @router.get(f"/{folder}/{{name}}", tags=[folder], name=f"get_{kind}")
    async def get(name: str) -> Document:
        """The object with its status."""
        return parts.views.object(ObjectKey(kind, name))

    @router.put(f"/{folder}/{{name}}", tags=[folder], name=f"put_{kind}")
    async def put(
        name: str,
        spec: Spec,
        response: Response,
        wait: WaitFor = Wait.STORED,
        timeout: Timeout = WAIT_SECONDS,  # noqa: ASYNC109 - a query parameter
    ) -> Document:
        """Define or replace it; 409 when moreton.yaml defines it."""
        key = ObjectKey(kind, name)
        if await parts.control.put(key, spec):
            response.status_code = http.HTTPStatus.CREATED
        if wait is Wait.APPLIED:
            await parts.control.wait_applied(key, timeout)
        return parts.views.object(key)

    @router.delete(f"/{folder}/{{name}}", tags=[folder], name=f"delete_{kind}", status_code=204)
    async def delete(name: str) -> None:
        """Define it no more; 409 when moreton.yaml defines it or a route needs it."""
        await parts.control.delete(ObjectKey(kind, name))


def _add_weights(router: APIRouter, parts: ApiParts) -> None:
    path = "/routes/{name}/weights"

    async def answer(name: str, wait: Wait, seconds: float) -> Document:
        if wait is Wait.APPLIED:
            await parts.control.wait_applied(ObjectKey(Kind.ROUTE, name), seconds)
        return parts.views.weights(name)

    @router.get(path, tags=["weights"])
    async def get_weights(name: str) -> Document:
        """The weights in force, and as the route is defined."""
        return parts.views.weights(name)

    @router.put(path, tags=["weights"])
    async def put_weights(
        name: str,
        weights: Weights,
        wait: WaitFor = Wait.STORED,
        timeout: Timeout = WAIT_SECONDS,  # noqa: ASYNC109 - a query parameter
    ) -> Document:
        """Share the route's requests anew; also for routes of moreton.yaml."""
        await parts.control.put_weights(name, weights)
        return await answer(name, wait, timeout)

    @router.delete(path, tags=["weights"])
    async def delete_weights(
        name: str,
        wait: WaitFor = Wait.STORED,
        timeout: Timeout = WAIT_SECONDS,  # noqa: ASYNC109 - a query parameter
    ) -> Document:
        """Go back to the weights that the route is defined with."""
        await parts.control.delete_weights(name)
        return await answer(name, wait, timeout)
