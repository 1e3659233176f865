"""What happened to instances, over HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from moreton.controlplane.errors import ObjectNotValid
from moreton.kernel.quantities import parse_duration
from moreton.registry.core.history import to_document
from moreton.registry.core.instance import check_service_name
from moreton.registry.history import EVENTS_MAX, History
from moreton.store.errors import Compacted, StoreClosed

# A comment now and then lets both ends of a quiet stream notice that the other is gone.
HEARTBEAT_SECONDS = 15.0


def history_router(history: History) -> APIRouter:
    """`/v1/events`: of the last day, and as they happen."""
    router = APIRouter(prefix="/v1", tags=["looking"])

    @router.get("/events", response_model=None)
    async def events(
        service: Annotated[str | None, Query(description="Only of this service.")] = None,
        since: Annotated[str, Query(description="How far back, such as 1h.")] = "1h",
        limit: Annotated[int, Query(ge=1, le=EVENTS_MAX)] = 1000,
        *,
        follow: Annotated[bool, Query(description="From now on, as server-sent events.")] = False,
    ) -> Response | list[dict[str, Any]]:
        """Who registered, left, fell and came back, by whom and why: the last ones, in order."""
        if service is not None:
            check_service_name(service)
        if follow:
            headers = {"cache-control": "no-store"}
            stream = _stream(history, service)
            return StreamingResponse(stream, media_type="text/event-stream", headers=headers)
        try:
            start = history.now() - parse_duration(since)
        except ValueError as error:
            raise ObjectNotValid(f"since: {error}") from error
        found = await history.read(since=start, service=service, limit=limit)
        return [to_document(each) for each in found]

    return router


async def _stream(history: History, service: str | None) -> AsyncGenerator[str, None]:
    coming = history.follow(service)
    waiting = asyncio.ensure_future(anext(coming, None))
    yield ": moreton\n\n"
    try:
        while True:
            done, _ = await asyncio.wait([waiting], timeout=HEARTBEAT_SECONDS)
            if not done:
                yield ": still here\n\n"
                continue
            event = waiting.result()
            if event is None:
                return
            yield f"event: {event.kind}\ndata: {json.dumps(to_document(event))}\n\n"
            waiting = asyncio.ensure_future(anext(coming, None))
    except (Compacted, StoreClosed):
        return  # the reader was too slow, or the node ends: it asks again
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])
        await coming.aclose()
