"""`/v1/agent` that writes: services, checks and maintenance become Moreton's instances."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from moreton.registry.consul.core import extras
from moreton.registry.consul.core.definitions import (
    STATUSES,
    CheckDefinition,
    ServiceDefinition,
    read_check,
    read_service,
    with_names,
)
from moreton.registry.consul.core.extras import Extras, extras_of, names_of
from moreton.registry.consul.core.fields import Fields
from moreton.registry.consul.core.probes import to_check
from moreton.registry.consul.core.queries import parse_flag
from moreton.registry.consul.core.refusals import ConsulRequestRefused, bad, not_found
from moreton.registry.consul.core.shapes import Row
from moreton.registry.consul.following.catalog import EXTRAS, Catalog
from moreton.registry.consul.messages import Answer, Request
from moreton.registry.core.checks import Check, CommandProbe, TtlProbe
from moreton.registry.core.documents import instance_key, service_prefix
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import (
    CheckStatus,
    InstanceKind,
    InstanceSource,
    InstanceState,
    Order,
)
from moreton.registry.errors import InstanceIdTaken, InstanceNotRegistered
from moreton.registry.host import Registry
from moreton.store import Compare, Delete, Put, Store, prefix_end

Resolve: TypeAlias = Callable[[str], Awaitable[str]]

_RESOLVE_SECONDS = 2.0
_DONE = Answer(b"", 200, ())
_SCRIPTS_OFF = (
    "Scripts are disabled on this agent: a check with Args would run a program of the caller's as "
    "this user, so nothing was registered; set consul.script_checks: true in moreton.yaml"
)


@dataclass(frozen=True, slots=True)
class RegistrarSettings:
    """*address* is that of a service which gives none; *resolve* finds that of a host's name."""

    address: str
    resolve: Resolve
    script_checks: bool = False


class Registrar:
    """The agent's endpoints that change something."""

    def __init__(
        self, store: Store, registry: Registry, catalog: Catalog, settings: RegistrarSettings
    ) -> None:
        self._store = store
        self._registry = registry
        self._catalog = catalog
        self._settings = settings
        # What is read, changed and written back is so by one at a time.
        self._turn = asyncio.Lock()

    async def register(self, request: Request) -> Answer:
        """Register a service instance, or change one."""
        definition = read_service(await request.json())
        replaces = request.parameters.flag("replace-existing-checks")
        checks = tuple(self._check(each) for each in definition.checks)
        address = await self._address(definition.address or self._settings.address)
        instance = Instance(
            id=InstanceId(definition.id),
            service=definition.name,
            address=address,
            port=definition.port,
            zone=definition.zone,
            weight=definition.weight,
            tags=definition.tags,
            metadata=definition.metadata,
            kind=InstanceKind.PERSISTENT,
            source=InstanceSource.CONSUL,
            checks=checks,
        )
        async with self._turn:
            await self._settle(definition.name)
            await self._replace_others(definition)
            known = self._catalog.row(definition.name, definition.id)
            more = extras_of(definition)
            if known is not None and not replaces:
                instance, more = _with_known_checks(instance, more, known)
            await self._write(instance, more, known)
            await self._settle(definition.name)
        return _DONE

    async def deregister(self, request: Request) -> Answer:
        """End the registration of an instance, whoever registered it."""
        async with self._turn:
            row = await self._service(request.rest)
            await self._deregister(row.instance)
            await self._settle(row.instance.service)
        return _DONE

    async def maintenance(self, request: Request) -> Answer:
        """Take an instance out of use, or into it again."""
        parameters = request.parameters
        if not request.rest:
            raise bad("Missing service ID")
        if "enable" not in parameters:
            raise bad("Missing value for enable")
        is_on = parse_flag(parameters.first("enable"), "enable")
        row = await self._service(request.rest)
        service, instance_id = row.instance.service, row.instance.id
        if is_on:
            order = Order(
                InstanceState.MAINTENANCE,
                self._registry.wall(),
                reason=parameters.first("reason"),
                by="consul",
            )
            await self._registry.set_order(service, instance_id, order)
        else:
            await self._registry.clear_order(service, instance_id)
        await self._settle(service)
        return _DONE

    async def register_check(self, request: Request) -> Answer:
        """Add a check to a registered instance."""
        definition = read_check(Fields(await request.json(), "the check"))
        if not definition.name:
            raise bad("Missing check name")
        if not definition.service_id:
            raise bad(
                "the check has no ServiceID, and there is no node to check here: nothing was "
                "registered; name the id of a registered service"
            )
        definition = with_names(
            definition,
            definition.name,
            definition.name,
            service_id=definition.service_id,
        )
        check = self._check(definition)

        def change(row: Row) -> tuple[tuple[Check, ...], Extras]:
            others = tuple(each for each in row.checks if each.id != check.id)
            names = {**row.extras.checks, check.id: names_of(definition)}
            return (*others, check), replace(row.extras, checks=names)

        async with self._turn:
            row = await self._service(definition.service_id)
            await self._change_checks(row, change)
            await self._settle(row.instance.service)
        return _DONE

    async def deregister_check(self, request: Request) -> Answer:
        """Take a check away."""
        async with self._turn:
            row, check = await self._found_check(request.rest)

            def change(row: Row) -> tuple[tuple[Check, ...], Extras]:
                kept = tuple(each for each in row.checks if each.id != check.id)
                names = {key: each for key, each in row.extras.checks.items() if key != check.id}
                return kept, replace(row.extras, checks=names)

            await self._change_checks(row, change)
            await self._settle(row.instance.service)
        return _DONE

    async def passes(self, request: Request) -> Answer:
        """A check with a ttl is passing."""
        note = request.parameters.first("note")
        return await self._report(request.rest, CheckStatus.PASSING, note)

    async def warns(self, request: Request) -> Answer:
        """A check with a ttl is to be looked at."""
        note = request.parameters.first("note")
        return await self._report(request.rest, CheckStatus.WARNING, note)

    async def fails(self, request: Request) -> Answer:
        """A check with a ttl is critical."""
        note = request.parameters.first("note")
        return await self._report(request.rest, CheckStatus.CRITICAL, note)

    async def update(self, request: Request) -> Answer:
        """The same with the status in the body."""
        fields = Fields(await request.json(), "the update")
        status = fields.text("status")
        if status not in STATUSES:
            raise bad(f"Invalid check status: '{status[:40]}'")
        return await self._report(request.rest, CheckStatus(status), fields.text("output"))

    async def _address(self, host: str) -> str:
        try:
            async with asyncio.timeout(_RESOLVE_SECONDS):
                return await self._settings.resolve(host)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise bad(
                f"Invalid service address: {host[:80]!r} is not an IP address and cannot be "
                f"resolved ({str(error) or 'no answer'}), so nothing was registered; give an IP "
                "address"
            ) from error

    def _check(self, definition: CheckDefinition) -> Check:
        check = to_check(definition)
        if isinstance(check.probe, CommandProbe) and not self._settings.script_checks:
            raise bad(_SCRIPTS_OFF)
        return check

    async def _report(self, check_id: str, status: CheckStatus, output: str) -> Answer:
        row, check = await self._found_check(check_id)
        if not isinstance(check.probe, TtlProbe):
            raise ConsulRequestRefused(500, f'CheckID "{check_id}" does not have associated TTL')
        instance = row.instance
        await self._registry.report(instance.service, instance.id, check.id, status, output)
        found = row.instance.health
        known = None if found is None else next((c for c in found.checks if c.id == check.id), None)
        if known is None or (known.status, known.output) != (status, output):
            key = instance_key(instance.service, instance.id)
            await self._catalog.mirror.settle(key, prefix_end(key + b"/"))
        return _DONE

    async def _service(self, instance_id: str) -> Row:
        """The one instance with that id."""
        found = self._catalog.find(instance_id)
        if not found:
            # It may have been registered at another node a moment ago.
            await self._settle(None)
            found = self._catalog.find(instance_id)
        if not found:
            raise not_found(
                f'Unknown service ID "{instance_id[:128]}". Ensure that the service ID is passed, '
                "not the service name."
            )
        if len(found) > 1:
            names = ", ".join(row.instance.service for row in found[:5])
            raise bad(
                f'service ID "{instance_id}" is that of instances of {names}: nothing was changed; '
                "register each under an id of its own"
            )
        return found[0]

    async def _found_check(self, check_id: str) -> tuple[Row, Check]:
        found = self._catalog.find_check(check_id)
        if not found:
            await self._settle(None)
            found = self._catalog.find_check(check_id)
        if not found:
            raise not_found(
                f'Unknown check ID "{check_id[:128]}". Ensure that the check ID is passed, not the '
                "check name."
            )
        if len(found) > 1:
            names = ", ".join(f"{row.instance.service}/{row.instance.id}" for row in found[:5])
            raise bad(f'check ID "{check_id}" is that of several instances, {names}: give others')
        return found[0], next(each for each in found[0].checks if each.id == check_id)

    async def _change_checks(
        self, row: Row, change: Callable[[Row], tuple[tuple[Check, ...], Extras]]
    ) -> None:
        if row.instance.source is not InstanceSource.CONSUL:
            raise bad(
                f'instance "{row.instance.id}" of "{row.instance.service}" was registered by '
                f"{row.instance.source}: its checks are not changed by this API; change them there"
            )
        checks, more = change(row)
        await self._write(replace(_registration(row.instance), checks=checks), more, row)

    async def _write(self, instance: Instance, more: Extras, known: Row | None) -> None:
        try:
            await self._registry.register(instance)
        except InstanceIdTaken:
            if known is None or not _may_be_replaced(known.instance, instance):
                raise
            await self._deregister(known.instance)
            await self._registry.register(instance)
            if known.instance.order is not None:
                order = known.instance.order
                await self._registry.set_order(instance.service, instance.id, order)
        key = instance_key(instance.service, instance.id, EXTRAS)
        if more == Extras():
            await self._store.delete(key)
            return
        registered = [Compare.version(instance_key(instance.service, instance.id), ">", 0)]
        await self._store.txn(registered, [Put(key, extras.encode(more))], [Delete(key)])

    async def _replace_others(self, definition: ServiceDefinition) -> None:
        """With Consul an id has one service: what it had under another name is over."""
        for row in self._catalog.find(definition.id):
            other = row.instance
            if other.service != definition.name and other.source is InstanceSource.CONSUL:
                await self._deregister(other)

    async def _deregister(self, instance: Instance) -> None:
        try:
            await self._registry.deregister(instance.service, instance.id)
        except InstanceNotRegistered:
            return  # someone else was faster

    async def _settle(self, service: str | None) -> None:
        """See here what is in the store by now."""
        start = service_prefix(service) if service is not None else self._catalog.mirror.prefix
        await self._catalog.mirror.settle(start, prefix_end(start))


def _registration(instance: Instance) -> Instance:
    """What the instance says of itself, of what everybody sees."""
    return replace(
        instance, state=InstanceState.SERVING, reason="", order=None, health=None, kept=False
    )


def _with_known_checks(instance: Instance, more: Extras, known: Row) -> tuple[Instance, Extras]:
    """*instance* with the checks that it had and that are not told anew."""
    own = {each.id for each in instance.checks}
    kept = tuple(each for each in known.checks if each.id not in own)
    names: dict[str, Any] = {
        each.id: known.extras.checks[each.id] for each in kept if each.id in known.extras.checks
    }
    checks = {**names, **more.checks}
    return replace(instance, checks=(*instance.checks, *kept)), replace(more, checks=checks)


def _may_be_replaced(known: Instance, instance: Instance) -> bool:
    """Whether *instance* may take the place of *known*, which is at another address or port.

    An agent of Consul's has the ids of one machine; here two machines may use one id by mistake,
    and would take each other's place for ever. One that is on the same machine, that is down or
    that nobody checks may be replaced.
    """
    if known.source is not InstanceSource.CONSUL:
        return False
    is_down = known.state is InstanceState.CRITICAL
    return known.address == instance.address or is_down or not known.checks


async def resolve(host: str) -> str:
    """The IP address of *host*, as it is now. Raises `OSError`, `UnicodeError`."""
    found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    found.sort(key=lambda each: each[0] != socket.AF_INET)
    return str(found[0][4][0])
