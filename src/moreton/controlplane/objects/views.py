"""Objects as the API shows them."""

from __future__ import annotations

from typing import Any

from moreton.controlplane.core.objects import Kind, ObjectKey, Status
from moreton.controlplane.objects.control import Control
from moreton.controlplane.objects.takes import takes
from moreton.gateway.core.model import Gateway, Route, Service
from moreton.ratelimit.core.rules.values import LimitRule


class Views:
    """Documents about the objects that *control* holds; *instances* has those of a service."""

    def __init__(self, control: Control, instances: Any) -> None:
        self._control = control
        self._instances = instances

    def object(self, key: ObjectKey) -> dict[str, Any]:
        """The object *key*. Raises `UnknownObject`."""
        value = self._control.require(key)
        match value:
            case Route():
                return self.route(value)
            case Service():
                return self.service(value)
            case Gateway():
                return self.gateway(value)
            case LimitRule():
                return self.limit(value)

    def routes(self) -> list[dict[str, Any]]:
        """All routes by name."""
        return [self.route(route) for route in self._control.desired.routes()]

    def services(self) -> list[dict[str, Any]]:
        """All services by name."""
        return [self.service(service) for service in self._control.desired.services()]

    def gateways(self) -> list[dict[str, Any]]:
        """All gateways by name."""
        return [self.gateway(gateway) for gateway in self._control.desired.gateways()]

    def route(self, route: Route) -> dict[str, Any]:
        """A route: what it takes, where it goes, how far it has come."""
        key = ObjectKey(Kind.ROUTE, route.name)
        redirect = route.redirect
        return {
            "name": route.name,
            "takes": takes(route.match),
            "gateways": sorted(route.gateways),
            "weights": {each.service: each.weight for each in route.to},
            "weights_set": self._control.desired.weights_set(route.name) is not None,
            "mirrors": {mirror.service: mirror.share for mirror in route.mirrors},
            "redirect": None if redirect is None else redirect.status,
            **self._common(key),
        }

    def weights(self, name: str) -> dict[str, Any]:
        """The weights of the route *name*, in force and as defined. Raises `UnknownObject`."""
        route = self._control.require_route(name)
        key = ObjectKey(Kind.ROUTE, name)
        definition = self._control.desired.definition(key)
        assert definition is not None
        assert isinstance(definition.value, Route)
        return {
            "route": name,
            "weights": {each.service: each.weight for each in route.to},
            "defined": {each.service: each.weight for each in definition.value.to},
            "set": self._control.desired.weights_set(name) is not None,
            "where": definition.where,
            "status": status_document(self._control.publisher.status(key)),
        }

    def service(self, service: Service) -> dict[str, Any]:
        """A service: where it answers, how far the proxies know."""
        found = [] if service.discover is None else self._instances.of(service.discover)
        return {
            "name": service.name,
            "protocol": str(service.protocol),
            "addresses": [f"{each.host}:{each.port}" for each in service.addresses],
            "discover": service.discover,
            "instances": [instance.endpoint for instance in found],
            "routes": self._control.desired.users_of(service.name),
            **self._common(ObjectKey(Kind.SERVICE, service.name)),
        }

    def gateway(self, gateway: Gateway) -> dict[str, Any]:
        """A gateway: where it listens."""
        return {
            "name": gateway.name,
            "listeners": [
                {
                    "address": f"{each.address.host}:{each.address.port}",
                    "tls": each.tls is not None,
                }
                for each in gateway.listeners
            ],
            **self._common(ObjectKey(Kind.GATEWAY, gateway.name)),
        }

    def limit(self, rule: LimitRule) -> dict[str, Any]:
        """A rule that proxies keep: whether it acts, how far the proxies know."""
        return {
            "name": rule.name,
            "limit": [bound.name for bound in rule.bounds],
            "mode": str(rule.mode),
            "share": rule.share,
            **self._common(ObjectKey(Kind.LIMIT, rule.name)),
        }

    def status_of(self, key: ObjectKey) -> dict[str, Any]:
        """The status of *key* with its place, for lists of all objects."""
        return {"kind": str(key.kind), "name": key.name, **self._common(key)}

    def _common(self, key: ObjectKey) -> dict[str, Any]:
        definition = self._control.desired.definition(key)
        return {
            "source": {
                "origin": "api" if definition is None else str(definition.origin),
                "where": "" if definition is None else definition.where,
                "shadowed": self._control.desired.shadowed(key),
            },
            "status": status_document(self._control.publisher.status(key)),
        }


def status_document(status: Status) -> dict[str, Any]:
    """A status with all its parts, and as the one line that people read."""
    return {
        "state": str(status.state),
        "applied": status.applied,
        "proxies": status.proxies,
        "reason": status.reason,
        "text": str(status),
    }
