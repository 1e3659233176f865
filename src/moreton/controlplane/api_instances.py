"""The registry over HTTP: register, renew, leave, list."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from moreton.controlplane.errors import CommandsNotAllowed
from moreton.kernel.quantities import format_duration, parse_duration
from moreton.registry.config import CheckModel
from moreton.registry.core.changes import InstanceView
from moreton.registry.core.checks import CommandProbe
from moreton.registry.core.documents import order_document, to_document
from moreton.registry.core.faults import readable
from moreton.registry.core.instance import (
    TTL_DEFAULT,
    Instance,
    InstanceId,
    check_service_name,
)
from moreton.registry.core.standing import (
    CheckStatus,
    InstanceKind,
    InstanceSource,
    InstanceState,
    Order,
)
from moreton.registry.errors import InstanceNotValid
from moreton.registry.host import InstanceList, Lease, Registry
from moreton.store.errors import StoreError

REVISION_HEADER = "x-moreton-revision"
# Says that the store could not be asked: the answer is what this node knew last.
STALE_HEADER = "x-moreton-stale"
# Of one request: some milliseconds of work, during which nobody else is answered.
RENEWALS_MAX = 1000


class InstanceBody(BaseModel):
    """What a service says of itself."""

    model_config = ConfigDict(extra="forbid", strict=True)

    address: str
    port: int
    id: str | None = None
    ttl: str | None = None  # default: 10s; a persistent one has none
    zone: str = ""
    weight: int = 1
    version: str = ""
    tags: list[str] = Field(default_factory=list)
    metadata: dict[str, str] = Field(default_factory=dict)
    # Not strict: in JSON an enumeration is a string.
    state: InstanceState = Field(default=InstanceState.SERVING, strict=False)
    ports: dict[str, int] = Field(default_factory=dict)
    kind: InstanceKind = Field(default=InstanceKind.EPHEMERAL, strict=False)
    # The other sources are the control plane's own, which keeps what they registered in order.
    source: Literal["sdk", "run", "http"] = "http"
    checks: list[CheckModel] = Field(default_factory=list)


class ReportBody(BaseModel):
    """What whoever knows says of a check with a ttl."""

    model_config = ConfigDict(extra="forbid", strict=True)

    status: CheckStatus = Field(default=CheckStatus.PASSING, strict=False)
    output: str = ""


class OrderBody(BaseModel):
    """What an instance is to be, whatever it says itself."""

    model_config = ConfigDict(extra="forbid", strict=True)

    state: InstanceState = Field(strict=False)
    reason: str = ""
    by: str = "api"


class RenewalsBody(BaseModel):
    """Instances to renew, each written as `service/id`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    instances: Annotated[list[str], Field(max_length=RENEWALS_MAX)]


async def _nobody() -> frozenset[str]:
    return frozenset()


def instances_router(
    registry: Registry,
    *,
    known: InstanceView | None = None,
    cut_off: Callable[[], bool] = lambda: False,
    commands: Callable[[], bool] = lambda: False,
    ejected: Callable[[], Awaitable[frozenset[str]]] = _nobody,
) -> APIRouter:
    """The routes below `/v1` that programs register by; without authentication of their own.

    *known* is answered, and marked as stale, when the store cannot be asked; at once when this
    node is known to be *cut_off* from it. *commands*: whether checks may be commands to run.
    *ejected* are the endpoints that a proxy lets rest for their failures.
    """
    router = APIRouter(prefix="/v1", tags=["instances"])

    @router.post("/services/{service}/instances", status_code=201)
    async def register(service: str, body: InstanceBody) -> dict[str, str | None]:
        """Register an instance, or change one; the same id and address is the same instance.

        A persistent one has neither lease nor ttl, and stays until it is deregistered. `revision`
        is that of the store which has it.
        """
        instance_id = InstanceId(body.id) if body.id is not None else registry.new_instance_id()
        instance = _instance(service, instance_id, body)
        if not commands() and any(isinstance(x.probe, CommandProbe) for x in instance.checks):
            raise CommandsNotAllowed(service=service)
        return _lease_document(await registry.register(instance, ttl=_ttl(body)))

    @router.put("/services/{service}/instances/{instance_id}/lease")
    async def renew(service: str, instance_id: str) -> dict[str, str]:
        """Renew; 404 says that the instance must register again."""
        return {"ttl": format_duration(await registry.renew(service, instance_id))}

    @router.post("/leases/renew")
    async def renew_many(body: RenewalsBody) -> dict[str, dict[str, str | None]]:
        """Renew many at once: the ttl of each, `null` for one that must register again."""
        places = [_place(each) for each in body.instances]
        ttls = await registry.renew_many(places)
        texts = {ttl: None if ttl is None else format_duration(ttl) for ttl in set(ttls)}
        return {"ttls": {name: texts[ttl] for name, ttl in zip(body.instances, ttls, strict=True)}}

    @router.delete("/services/{service}/instances/{instance_id}", status_code=204)
    async def deregister(service: str, instance_id: str, by: str = "api", why: str = "") -> None:
        """End a registration now; 404 if there is none."""
        await registry.deregister(service, instance_id, by=by, why=why)

    _add_orders(router, registry)
    _add_lists(router, registry, known, cut_off, ejected)
    return router


def _lease_document(held: Lease) -> dict[str, str | None]:
    # As text: a lease id and a revision have 63 bits, JSON numbers of many languages hold 53.
    return {
        "id": held.instance.id,
        "lease": None if held.lease is None else str(held.lease),
        "ttl": None if held.lease is None else format_duration(held.ttl),
        "revision": str(held.revision),
    }


def _add_orders(router: APIRouter, registry: Registry) -> None:
    @router.put("/services/{service}/instances/{instance_id}/checks/{check}", status_code=204)
    async def report(service: str, instance_id: str, check: str, body: ReportBody) -> None:
        """Say what a check with a ttl found; to be said again within the ttl."""
        await registry.report(service, instance_id, check, body.status, body.output)

    @router.put("/services/{service}/instances/{instance_id}/order")
    async def order(service: str, instance_id: str, body: OrderBody) -> dict[str, Any]:
        """Order an instance to be draining or in maintenance; 404 if it is not registered."""
        given = Order(body.state, registry.wall(), reason=body.reason, by=body.by)
        await registry.set_order(service, instance_id, given)
        return order_document(given)

    @router.delete("/services/{service}/instances/{instance_id}/order", status_code=204)
    async def clear_order(service: str, instance_id: str) -> None:
        """Take the order back, if there is one: the instance is what it says itself again."""
        await registry.clear_order(service, instance_id)


def _add_lists(
    router: APIRouter,
    registry: Registry,
    known: InstanceView | None,
    cut_off: Callable[[], bool],
    ejected: Callable[[], Awaitable[frozenset[str]]],
) -> None:
    @router.get("/services/{service}/instances")
    async def instances_of(service: str, response: Response) -> list[dict[str, Any]]:
        """The instances of one service; `ejected`: this node's proxy lets it rest."""
        check_service_name(service)
        found = await ask(registry.instances(service), response)
        if found is None:
            found = _known_documents(registry, known, lambda each: each == service)
        resting = await ejected() if found else frozenset()
        return [{**each, "ejected": _endpoint(each) in resting} for each in found]

    @router.get("/instances")
    async def instances(
        response: Response, prefix: Annotated[str, Query(max_length=63)] = ""
    ) -> list[dict[str, Any]]:
        """All instances, or those of the services whose name begins with *prefix*."""
        found = await ask(registry.instances(prefix=prefix), response)
        if found is None:
            return _known_documents(registry, known, lambda each: each.startswith(prefix))
        return found

    async def ask(
        asking: Coroutine[Any, Any, InstanceList], response: Response
    ) -> list[dict[str, Any]] | None:
        """What the store says; `None` when it cannot be asked and what is known has to do."""
        if known is not None and cut_off():
            asking.close()
        else:
            try:
                found = await asking
            except StoreError:
                if known is None:
                    raise
            else:
                response.headers[REVISION_HEADER] = str(found.revision)
                return [_document(registry, each) for each in found.instances]
        response.headers[STALE_HEADER] = "true"
        return None


def _known_documents(
    registry: Registry, known: InstanceView | None, matches: Callable[[str], bool]
) -> list[dict[str, Any]]:
    assert known is not None, "else the store's error is the answer"
    return [
        _document(registry, instance)
        for service, instances in known.services().items()
        if matches(service)
        for instance in instances
    ]


def _endpoint(document: Mapping[str, Any]) -> str:
    address, port = document["address"], document["port"]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _document(registry: Registry, instance: Instance) -> dict[str, Any]:
    heard = registry.last_heartbeat(instance.service, instance.id)
    return {
        **to_document(instance),
        "last_heartbeat": None if heard is None else heard.isoformat(timespec="milliseconds"),
    }


def _instance(service: str, instance_id: InstanceId, body: InstanceBody) -> Instance:
    return Instance(
        id=instance_id,
        service=service,
        address=body.address,
        port=body.port,
        zone=body.zone,
        weight=body.weight,
        version=body.version,
        tags=tuple(body.tags),
        metadata=body.metadata,
        state=body.state,
        ports=body.ports,
        kind=body.kind,
        source=InstanceSource(body.source),
        checks=tuple(each.as_value() for each in body.checks),
    )


def _place(name: str) -> tuple[str, str]:
    service, slash, instance_id = name.partition("/")
    if not slash or "/" in instance_id or readable(name) != name:
        raise InstanceNotValid([f"{name!r} is not an instance; write service/id"])
    return service, instance_id


def _ttl(body: InstanceBody) -> timedelta:
    if body.ttl is None:
        return TTL_DEFAULT
    if body.kind is InstanceKind.PERSISTENT:
        fault = (
            f"ttl {body.ttl} is for what ends by itself, and a persistent instance stays until it "
            "is deregistered; leave one of the two out"
        )
        raise InstanceNotValid([fault])
    try:
        return parse_duration(body.ttl)
    except ValueError as error:
        raise InstanceNotValid([f"ttl: {error}"]) from error
