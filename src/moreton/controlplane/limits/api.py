"""Limits over HTTP: what holds, for whom, who is banned, and the rules that services ask for."""

from __future__ import annotations

import hashlib
import http
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from moreton.controlplane.errors import DefinedInFile, ObjectNotValid, UnknownObject
from moreton.controlplane.limits.documents import (
    ban_shown,
    bans_document,
    explanation,
    limits_document,
    sections_of,
    utc_now,
)
from moreton.controlplane.limits.orders import LimitOrders
from moreton.controlplane.settings import Settings
from moreton.gateway.core.model import Route
from moreton.kernel.quantities import parse_duration
from moreton.ratelimit.config.words import ban_of, read_moment
from moreton.ratelimit.core.addresses import key_of
from moreton.ratelimit.core.rules.seen import Caller
from moreton.ratelimit.core.rules.values import LimitRule, Place, Scope, Trait
from moreton.ratelimit.rulebook.documents import rules_document

_KEY_CHARS_MAX = 1000


class BanBody(BaseModel):
    """Whom to ban: for so long, or until a moment; for good without either."""

    model_config = ConfigDict(extra="forbid", strict=True)

    who: str = Field(max_length=_KEY_CHARS_MAX)
    duration: str | None = Field(default=None, alias="for")
    until: str | None = None
    reason: str = Field(default="", max_length=500)


class Asked(BaseModel):
    """A request that may never have happened; *address* is who connects."""

    model_config = ConfigDict(extra="forbid")

    method: str
    url: str
    header: list[str] = Field(default=[], description="`name: value`")
    address: str = ""
    gateway: str = ""
    service: str = ""


class ResetBody(BaseModel):
    """Which key begins anew, with which rule."""

    model_config = ConfigDict(extra="forbid", strict=True)

    rule: str
    key: str = Field(max_length=_KEY_CHARS_MAX)


def limits_router(
    settings: Callable[[], Settings],
    routes: Callable[[], Iterable[Route]],
    orders: LimitOrders,
) -> APIRouter:
    """`/v1/limits` and what is below it but reports."""
    router = APIRouter(prefix="/v1/limits", tags=["limits"])

    @router.get("")
    async def limits() -> list[dict[str, Any]]:
        """All limits of moreton.yaml."""
        return limits_document(settings())

    @router.get("/rules")
    async def rules(if_none_match: Annotated[str | None, Header()] = None) -> Any:
        """What services keep: sections as written, bans, resets; 304 when nothing changed."""
        document = rules_document(sections_of(settings()), orders.bans, orders.resets)
        body = json.dumps(document, separators=(",", ":")).encode()
        version = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
        if if_none_match == version:
            return Response(status_code=http.HTTPStatus.NOT_MODIFIED, headers={"etag": version})
        return Response(body, media_type="application/json", headers={"etag": version})

    @router.get("/explain")
    async def explain(asked: Annotated[Asked, Query()]) -> dict[str, Any]:
        """Which limits a request is under, by which keys, and why not under the others."""
        headers = _headers(asked.header)
        caller = Caller(
            asked.method, asked.url, headers, asked.address, asked.gateway, asked.service
        )
        try:
            return explanation(settings(), routes(), orders.bans, caller, utc_now())
        except ValueError as error:
            raise ObjectNotValid(str(error)) from error

    _add_bans(router, settings, orders)

    @router.post("/resets", status_code=http.HTTPStatus.CREATED)
    async def reset(body: ResetBody) -> dict[str, Any]:
        """A key begins anew, in services within seconds; 422 for a limit that gateways keep."""
        rule = settings().limits.rules.get(body.rule)
        if rule is None:
            raise UnknownObject(what=f'limit "{body.rule}"', listing="moreton limits list")
        if rule.at is Place.GATEWAY:
            raise ObjectNotValid(_at_gateways(rule))
        key = _key_in(rule, body.key, settings().limits.clients.v6_bits)
        found = await orders.reset(body.rule, key)
        return {"id": found.id, "rule": found.rule, "key": found.key}

    return router


def _key_in(rule: LimitRule, key: str, v6_bits: int) -> str:
    """*key* as *rule* counts it; raises `ObjectNotValid` for one that it cannot have."""
    if rule.by and not key:
        by = ", ".join(map(str, rule.by))
        raise ObjectNotValid(
            f'limit "{rule.name}" counts by {by}, so nobody has the empty key: nothing was reset; '
            "give a key as `moreton limits explain` says it"
        )
    if key and not rule.by:
        raise ObjectNotValid(
            f'limit "{rule.name}" counts everyone together, so {key!r} has no count of its own: '
            "nothing was reset; give no key"
        )
    # Services know an address of IPv6 by its network.
    is_address = [part.trait for part in rule.by] == [Trait.ADDRESS]
    return key_of(key, v6_bits) if is_address else key


def _at_gateways(rule: LimitRule) -> str:
    """Why no key of *rule* begins anew."""
    kept = rule.scope is Scope.EXACT
    advice = (
        "raise the limit until the key is free again: what was counted stays"
        if kept
        else "change the limit, which begins the counts of all its keys anew"
    )
    where = "by the rate limit service" if kept else "by each proxy"
    return (
        f'limit "{rule.name}" is counted for gateways {where}, where no key can begin anew by '
        f"itself: nothing was reset; {advice}, or take `at: service`"
    )


def _add_bans(router: APIRouter, settings: Callable[[], Settings], orders: LimitOrders) -> None:
    @router.get("/bans")
    async def bans() -> list[dict[str, Any]]:
        """Who is banned: by moreton.yaml, and by the API."""
        return bans_document(settings(), orders.bans, utc_now())

    @router.post("/bans", status_code=http.HTTPStatus.CREATED)
    async def ban(body: BanBody) -> dict[str, Any]:
        """Ban a network, a key, a country; a second ban of it replaces the first."""
        return ban_shown(await orders.ban(body.who, _end(body), body.reason), "api")

    @router.delete("/bans", status_code=http.HTTPStatus.NO_CONTENT)
    async def unban(who: str) -> None:
        """Let it pass again; 409 when moreton.yaml bans it."""
        try:
            await orders.unban(who)
        except UnknownObject:
            named = ban_of(who).who
            for number, one in enumerate(settings().limits.clients.bans):
                if one.who == named:
                    place = settings().document.where(("clients", "bans", number))
                    raise DefinedInFile(what=f"the ban of {named}", where=str(place)) from None
            raise


def _end(body: BanBody) -> datetime | None:
    if body.until is not None and body.duration is not None:
        raise ObjectNotValid("the ban has `for` and `until`; give one of them")
    try:
        if body.duration is not None:
            return utc_now() + parse_duration(body.duration)
        return None if body.until is None else read_moment(body.until)
    except ValueError as error:
        raise ObjectNotValid(f"the end of the ban: {error}") from error


def _headers(pairs: Iterable[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        name, colon, value = pair.partition(":")
        if not colon or not name.strip():
            raise ObjectNotValid(f"{pair!r} is not a header; write `name: value`")
        found[name.strip().lower()] = value.strip()
    return found
