"""What can only be looked at: health, status, proxies, explanations, events, metrics."""

from __future__ import annotations

import http
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from moreton.controlplane.api.parts import ApiParts, Document, Request
from moreton.controlplane.errors import ObjectNotValid
from moreton.registry.core.instance import check_service_name

# The version of Prometheus' text format.
METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def looks_router(parts: ApiParts) -> APIRouter:
    """`/v1/health`, `/v1/status`, `/v1/gateways`, `/v1/proxies`, `/v1/explain` and more."""
    router = APIRouter()
    _add_state(router, parts)
    _add_streams(router, parts)

    @router.get("/v1/explain", tags=["looking"])
    async def explain(
        url: Annotated[str, Query(description="Of the request, with or without a host.")],
        method: str = "GET",
        header: Annotated[list[str] | None, Query(description="`name: value`, repeatable.")] = None,
    ) -> Document:
        """Which route takes a request, and for each near miss the condition that lost."""
        return parts.explain(Request(method.upper(), url, dict(map(_header, header or []))))

    return router


def _add_state(router: APIRouter, parts: ApiParts) -> None:
    @router.get("/v1/health", tags=["looking"])
    async def health(response: Response) -> Document:
        """200 once everything was applied by a proxy, 503 before; needs no token."""
        found = parts.health()
        if not found.ready:
            response.status_code = http.HTTPStatus.SERVICE_UNAVAILABLE
        return {"ready": found.ready, "reasons": list(found.reasons)}

    @router.get("/v1/status", tags=["looking"])
    async def status() -> Document:
        """Everything at a glance: gateways, proxies, Envoy, the store, what needs attention."""
        return parts.status()

    @router.get("/v1/gateways", tags=["looking"])
    async def gateways() -> list[Document]:
        """The gateways with their listeners."""
        return parts.views.gateways()

    @router.get("/v1/proxies", tags=["looking"])
    async def proxies() -> list[Document]:
        """The connected proxies, and how far each is."""
        return parts.proxies()


def _add_streams(router: APIRouter, parts: ApiParts) -> None:
    @router.get("/v1/watch", tags=["looking"])
    async def watch(
        prefix: Annotated[str | None, Query(pattern=r"^instances(/[^/]*)?$")] = None,
    ) -> StreamingResponse:
        """Server-sent events: `object` with each new status; or the registry's, by *prefix*."""
        events: AsyncIterator[str] | AsyncIterator[bytes]
        if prefix is None:
            events = parts.events.stream()
        else:
            service = prefix.partition("/")[2]
            if service:
                check_service_name(service)
            events = parts.notices.stream(service or None, cut_off=parts.is_cut_off)
        return StreamingResponse(
            events, media_type="text/event-stream", headers={"cache-control": "no-store"}
        )

    @router.get("/metrics", tags=["looking"])
    async def metrics() -> Response:
        """Of the control plane, the gateways and the services, for Prometheus."""
        return Response(await parts.metrics(), media_type=METRICS_TYPE)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ObjectNotValid(
            f"{text!r} is not a header, so the request cannot be explained; write `name: value`"
        )
    return name.strip().lower(), value.strip()
