"""What the shape of a configuration cannot show: names, clashes, files."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from moreton.config import Fault, Location
from moreton.gateway.core.limits import proxy_problems
from moreton.gateway.core.model import Gateway, Route, Service
from moreton.gateway.core.routing import clashes
from moreton.ratelimit.core.rules.values import LimitRule
from moreton.ratelimit.rls.core.facts import asked_problems

Locate = Callable[..., Location | None]


def check_objects(
    gateways: Mapping[str, Gateway | None],
    services: Mapping[str, Service | None],
    routes: Mapping[str, Route],
    locate: Locate,
) -> list[Fault]:
    """References to what no one defines, routes that clash, addresses taken twice.

    A gateway or service that is `None` is defined, but wrong in itself.
    """
    faults = list(_listeners(gateways, locate))
    for route in routes.values():
        faults += check_references(route, gateways, services, locate)
    faults += [clash_fault(first, second, locate) for first, second in clashes(routes.values())]
    return faults


def notes_of(gateways: Mapping[str, object], routes: Mapping[str, object]) -> list[str]:
    """What is allowed, and should be known: routes without a gateway."""
    if gateways or not routes:
        return []
    note = "there is no gateway: nothing listens, and nobody reaches the routes; add one, as "
    return [f"{note}gateways: {{main: {{listeners: [{{address: 127.0.0.1:8080}}]}}}}"]


def check_references(
    route: Route, gateways: Mapping[str, object], services: Mapping[str, object], locate: Locate
) -> Iterator[Fault]:
    """The gateways and services that *route* names and no one defines."""
    prevents = "the route is not published"
    for name in sorted(route.gateways - gateways.keys()):
        what = f"route {route.name!r} is for the gateway {name!r}, which no one defines"
        todo = f"define it, or {meant(name, gateways, 'leave `gateways` out')}"
        yield Fault(what, todo, locate("routes", route.name, "gateways"), prevents)
    used = [("to", d.service) for d in route.to] + [("mirror", m.service) for m in route.mirrors]
    for key, name in used:
        if name not in services:
            verb = "sends to" if key == "to" else "mirrors to"
            what = f"route {route.name!r} {verb} the service {name!r}, which no one defines"
            todo = f"define it, or {meant(name, services, 'remove the route')}"
            yield Fault(what, todo, locate("routes", route.name, key, name), prevents)


def clash_fault(first: str, second: str, locate: Locate) -> Fault:
    """The fault of two routes of equal rank that one request could match."""
    return Fault(
        f"routes {first!r} ({locate('routes', first)}) and {second!r} match the same requests "
        "with equal rank",
        "make one more specific, or remove one",
        locate("routes", second),
        "neither is published",
    )


def check_proxy_limits(
    rules: Mapping[str, LimitRule], locate: Callable[[Sequence[str | int]], Location | None]
) -> Iterator[Fault]:
    """Limits of which a proxy by itself, or by asking, cannot keep what they say."""
    for name, rule in rules.items():
        place = locate(("limits", name))
        for what, todo in [*proxy_problems(rule), *asked_problems(rule)]:
            yield Fault(f"limit {name!r}: {what}", todo, place, "the rule is not in force")


def check_tls(gateways: Mapping[str, Gateway], locate: Locate) -> list[Fault]:
    """Certificates and keys that cannot be read, do not fit, or have expired."""
    faults = []
    for gateway in gateways.values():
        for number, listener in enumerate(gateway.listeners):
            if listener.tls is not None:
                place = locate("gateways", gateway.name, "listeners", number, "tls")
                problem = tls_problem(Path(listener.tls.certificate), Path(listener.tls.key))
                if problem is not None:
                    what, todo = problem
                    faults.append(Fault(what, todo, place, "the listener cannot serve TLS"))
    return faults


def tls_problem(certificate: Path, key: Path) -> tuple[str, str] | None:
    """What is wrong with a certificate and its key, and what to do; `None` when all is well."""
    from cryptography import x509  # noqa: PLC0415 - 40 ms that most starts do not need
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    contents = []
    for file in (certificate, key):
        try:
            contents.append(file.read_bytes())
        except OSError as error:
            return f"{file} cannot be read: {error.strerror}", "check the path and its permissions"
    try:
        chain = x509.load_pem_x509_certificates(contents[0])
    except ValueError:
        return f"{certificate} has no PEM certificate", "give the certificate chain in PEM"
    try:
        private = serialization.load_pem_private_key(contents[1], password=None)
    except (ValueError, TypeError):
        return f"{key} has no PEM key without a password", "give the private key in plain PEM"
    if chain[0].public_key() != private.public_key():
        return f"{certificate} and {key} do not belong together", "give the key of the certificate"
    until = chain[0].not_valid_after_utc
    if until < datetime.now(UTC):
        return f"{certificate} expired on {until:%Y-%m-%d}", "renew it"
    return None


def _listeners(gateways: Mapping[str, Gateway | None], locate: Locate) -> Iterator[Fault]:
    taken: dict[object, str] = {}
    for gateway in gateways.values():
        if gateway is None:
            continue
        for number, listener in enumerate(gateway.listeners):
            address = f"{listener.address.host}:{listener.address.port}"
            place = locate("gateways", gateway.name, "listeners", number, "address")
            if address in taken:
                what = f"gateway {gateway.name!r} listens on {address}, as {taken[address]!r} does"
                yield Fault(what, "give each listener an address of its own", place)
            taken.setdefault(address, gateway.name)


def meant(name: str, known: Mapping[str, object], otherwise: str) -> str:
    """What to do about *name*, which is not in *known*: the name that was meant, or *otherwise*."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"write {close[0]!r}" if close else otherwise
