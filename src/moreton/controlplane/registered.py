"""What `moreton.yaml` says of registered instances: their checks, and their protection."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from ipaddress import ip_address

from moreton.config import Fault, Location
from moreton.gateway.config import ServiceModel
from moreton.registry.core.checks import Care
from moreton.registry.core.checks.values import PROTECT_DEFAULT
from moreton.registry.core.errors import InstanceNotValid
from moreton.registry.core.instance import check_service_name

Where = Callable[..., Location | None]
# What needs instances in the registry.
_KEYS = ("checks", "protect", "file", "dns")


def sources_of(services: Mapping[str, ServiceModel]) -> dict[str, ServiceModel]:
    """The services whose instances are told here, by the name to register them under.

    Not those whose addresses are names, as Envoy asks for these itself, nor those whose name
    cannot be one of the registry.
    """
    return {name: model for name, model in services.items() if _is_told(name, model)}


def care_of(services: Mapping[str, ServiceModel]) -> dict[str, Care]:
    """What is done for the instances of each service, by the name that they are registered under.

    Of several services with the same instances the first that says something counts.
    """
    found: dict[str, Care] = {}
    for name, model in services.items():
        care = _care(model)
        if care != Care():
            found.setdefault(model.registered_as(name), care)
    return found


def registered_faults(services: Mapping[str, ServiceModel], where: Where) -> list[Fault]:
    """What cannot be done so."""
    faults = []
    by_name: dict[str, str] = {}
    for name, model in services.items():
        keys = [key for key in _KEYS if getattr(model, key) is not None]
        if not keys:
            continue
        place = where("services", name, keys[0])
        registered = model.registered_as(name)
        try:
            check_service_name(registered)
        except InstanceNotValid as error:
            faults.append(Fault(f"service {name!r} has {keys[0]}: {error}", "rename it", place))
            continue
        if model.addresses is not None and not _is_told(name, model):
            what = f"service {name!r} has {keys[0]} and an address that is a name"
            todo = "write IP addresses, or follow the name with `dns`"
            faults.append(Fault(what, todo, place))
        if model.dns is not None and importlib.util.find_spec("dns") is None:
            what = f"service {name!r} has dns, and dnspython is not installed"
            faults.append(Fault(what, "install it: pip install 'moreton[dns]'", place))
        other = by_name.setdefault(registered, name)
        if other != name and _care(services[other]) != _care(model):
            what = f"services {other!r} and {name!r} have the same instances and other {keys[0]}"
            faults.append(Fault(what, "say it of one of them", place))
    return faults


def _is_told(name: str, model: ServiceModel) -> bool:
    try:
        check_service_name(name)
    except InstanceNotValid:
        return False
    if model.addresses is not None:
        return all(_is_ip_address(each.host) for each in model.addresses)
    return model.file is not None or model.dns is not None


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _care(model: ServiceModel) -> Care:
    checks = tuple(each.as_value() for each in model.checks or ())
    return Care(checks, PROTECT_DEFAULT if model.protect is None else model.protect)
