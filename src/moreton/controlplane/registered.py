"""What `moreton.yaml` says of registered instances: their checks, and their protection."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from moreton.config import Fault, Location
from moreton.gateway.config import ServiceModel
from moreton.registry.core.checks import Care
from moreton.registry.core.checks.values import PROTECT_DEFAULT
from moreton.registry.core.errors import InstanceNotValid
from moreton.registry.core.instance import check_service_name

Where = Callable[..., Location | None]


def care_of(services: Mapping[str, ServiceModel]) -> dict[str, Care]:
    """What is done for the instances of each service, by the name that they are registered under.

    Of several services with the same instances the first that says something counts.
    """
    found: dict[str, Care] = {}
    for name, model in services.items():
        care = _care(model)
        registered = model.registered_as(name)
        if registered is not None and care != Care():
            found.setdefault(registered, care)
    return found


def care_faults(services: Mapping[str, ServiceModel], where: Where) -> list[Fault]:
    """What cannot be done so."""
    faults = []
    by_name: dict[str, str] = {}
    for name, model in services.items():
        keys = [key for key in ("checks", "protect") if getattr(model, key) is not None]
        if not keys:
            continue
        place = where("services", name, keys[0])
        registered = model.registered_as(name)
        if registered is None:
            what = f"service {name!r} has {' and '.join(keys)} and fixed addresses"
            todo = "let its instances register, with `discover: true`"
            faults.append(Fault(what, todo, place))
            continue
        try:
            check_service_name(registered)
        except InstanceNotValid as error:
            faults.append(Fault(f"service {name!r} has {keys[0]}: {error}", "rename it", place))
        other = by_name.setdefault(registered, name)
        if other != name and _care(services[other]) != _care(model):
            what = f"services {other!r} and {name!r} have the same instances and other {keys[0]}"
            faults.append(Fault(what, "say it of one of them", place))
    return faults


def _care(model: ServiceModel) -> Care:
    checks = tuple(each.as_value() for each in model.checks or ())
    return Care(checks, PROTECT_DEFAULT if model.protect is None else model.protect)
