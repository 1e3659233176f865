"""`moreton.yaml` as a whole: the root model, and everything that `moreton check` does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from moreton.config import (
    ConfigRefused,
    Document,
    Duration,
    Fault,
    Location,
    Name,
    Percentage,
    Section,
    faults_of,
    load_document,
    parse,
)
from moreton.controlplane.checks import (
    check_objects,
    check_proxy_limits,
    check_tls,
    meant,
    tls_problem,
)
from moreton.controlplane.comparing.checks import check_comparisons, comparisons_of, with_copies
from moreton.controlplane.consul import ConsulModel
from moreton.controlplane.dns import DnsModel
from moreton.controlplane.migrations.checks import check_migrations, check_webhooks
from moreton.controlplane.registered import care_of, registered_faults, sources_of
from moreton.gateway.config import GatewayModel, RouteModel, RunModel, ServiceModel
from moreton.gateway.config.gateways import TlsModel
from moreton.gateway.config.policies import route_with, service_with
from moreton.gateway.config.words import AddressText
from moreton.gateway.core.model import Address, Gateway, Listener, Route, Service, TlsFiles
from moreton.ratelimit.config import (
    ClientsModel,
    CountersModel,
    Defined,
    LimitModel,
    as_limits,
    check_limits,
)
from moreton.ratelimit.core.rules.values import Limits
from moreton.registry.core.checks import Care
from moreton.resilience.config import PolicyModel
from moreton.strangler.compare.config import CompareModel
from moreton.strangler.compare.core.live import Live
from moreton.strangler.rollout.config import MigrationModel
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.webhooks import Webhook

DEFAULT_API = Address("127.0.0.1", 7400)


class ControlPlaneModel(Section):
    """The control plane itself."""

    api: AddressText = DEFAULT_API
    state: str = ".moreton"
    store: str | None = None  # default: `store.sqlite` in the state folder
    node: Name | None = None  # default: the machine's name
    advertise: AddressText | None = None  # where other machines reach the API; default: as `api`
    # Whether who registers may name commands for this machine to run as health checks.
    command_checks: bool = False
    tls: TlsModel | None = None  # of the API; without it the API listens on loopback only


class EnvoyModel(Section):
    """The data plane's process."""

    binary: str | None = None
    drain_time: Duration = timedelta(seconds=30)
    concurrency: Annotated[int, Field(ge=1, le=256)] | None = None


class TracingModel(Section):
    """Where spans go."""

    otlp: str  # http://host:port of an OTLP/HTTP receiver
    sample: Percentage = 1.0


class SettingsModel(Section):
    """The file."""

    version: Literal[1]
    gateways: dict[Name, GatewayModel] = {}
    services: dict[Name, ServiceModel] = {}
    routes: dict[Name, RouteModel] = {}
    policies: dict[Name, PolicyModel] = {}
    limits: dict[Name, LimitModel] = {}
    clients: ClientsModel = ClientsModel()
    counters: CountersModel = CountersModel()
    compare: dict[Name, CompareModel] = {}
    migrations: dict[Name, MigrationModel] = {}
    controlplane: ControlPlaneModel = ControlPlaneModel()
    envoy: EnvoyModel = EnvoyModel()
    tracing: TracingModel | None = None
    dns: DnsModel | None = None
    consul: ConsulModel | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    """A checked configuration, as values."""

    path: Path
    folder: Path  # where relative paths begin
    gateways: Mapping[str, Gateway]
    services: Mapping[str, Service]
    routes: Mapping[str, Route]
    runs: Mapping[str, RunModel]
    policies: Mapping[str, PolicyModel]
    limits: Limits  # rules, how clients are told apart, where counts are kept
    comparisons: Mapping[str, Live]  # by route
    migrations: Mapping[str, Plan]
    webhooks: Mapping[str, Sequence[Webhook]]  # by migration
    care: Mapping[str, Care]  # by the name under which the registry has the service
    sources: Mapping[str, ServiceModel]  # those whose instances are told here, as above
    controlplane: ControlPlaneModel
    envoy: EnvoyModel
    tracing: TracingModel | None
    dns: DnsModel | None
    consul: ConsulModel | None
    document: Document

    @property
    def api_tls(self) -> tuple[Path, Path] | None:
        """The API's certificate and key, if it serves TLS."""
        tls = self.controlplane.tls
        if tls is None:
            return None
        home = self.folder.absolute()
        return home / tls.certificate, home / tls.key

    def where(self, kind: str, name: str) -> Location | None:
        """Where the object *name* of *kind* (`gateways`, `services`, `routes`) is defined."""
        return self.document.where((kind, name))


def load_settings(path: Path) -> Settings:
    """Read and check *path*, a file or a folder.

    Raises `ConfigRefused` with every fault: what is not YAML, what is of the wrong shape, and,
    once the shape is right, names that no one defines, routes that clash, unreadable files.
    """
    document = load_document(path)
    folder = path if path.is_dir() else path.parent
    try:
        model = parse(document, SettingsModel)
    except ConfigRefused as refused:
        more = _faults_of_the_rest(document, folder)
        raise ConfigRefused([*refused.faults, *more]) from refused
    routes = _under_policies(model.routes, model.policies, route_with)
    comparisons = comparisons_of(model.compare, routes)
    settings = Settings(
        path=path,
        folder=folder,
        gateways={n: _absolute(m.as_value(n), folder) for n, m in model.gateways.items()},
        services=_under_policies(model.services, model.policies, service_with),
        routes=with_copies(routes, comparisons),
        runs={n: m.run for n, m in model.services.items() if m.run is not None},
        policies=model.policies,
        limits=as_limits(model.limits, model.clients, model.counters, folder),
        comparisons=comparisons,
        migrations={n: m.as_value(n) for n, m in model.migrations.items()},
        webhooks={n: m.webhooks_in(folder) for n, m in model.migrations.items() if m.webhooks},
        care=care_of(model.services),
        sources=sources_of(model.services),
        controlplane=model.controlplane,
        envoy=model.envoy,
        tracing=model.tracing,
        dns=model.dns,
        consul=model.consul,
        document=document,
    )

    def where(*pointer: str | int) -> Location | None:
        return document.where(pointer)

    faults = check_objects(settings.gateways, settings.services, settings.routes, where)
    faults += _check_policies(model, document)
    defined = Defined(frozenset(model.gateways), frozenset(model.services), frozenset(model.routes))
    of_limits = check_limits(settings.limits, defined, document.where)
    faults += of_limits or check_proxy_limits(settings.limits.rules, document.where)
    faults += check_comparisons(comparisons, settings.routes, settings.services, where)
    faults += check_migrations(settings.migrations, settings.routes, comparisons, where)
    faults += check_webhooks(settings.webhooks, where)
    faults += registered_faults(model.services, where)
    faults += check_tls(settings.gateways, where)
    faults += _check_api_tls(settings)
    if faults:
        raise ConfigRefused(faults)
    return settings


def _under_policies(
    models: Mapping[str, Any], policies: Mapping[str, PolicyModel], apply: Callable[..., Any]
) -> dict[str, Any]:
    """The values of *models*, each with what its policy, if it names one, means for Envoy."""
    values = {name: model.as_value(name) for name, model in models.items()}
    for name, model in models.items():
        if model.policy in policies:
            values[name] = apply(values[name], policies[model.policy])
    return values


def _check_policies(model: SettingsModel, document: Document) -> list[Fault]:
    """The policies that are named and that no one defines."""
    faults = []
    for section, models in (("services", model.services), ("routes", model.routes)):
        for name, one in models.items():
            if one.policy is not None and one.policy not in model.policies:
                what = (
                    f"{section[:-1]} {name!r} has the policy {one.policy!r}, which no one defines"
                )
                todo = f"define it, or {meant(one.policy, model.policies, 'remove it')}"
                where = document.where((section, name, "policy"))
                faults.append(Fault(what, todo, where, "it is not published"))
    return faults


def _check_api_tls(settings: Settings) -> list[Fault]:
    files = settings.api_tls
    problem = None if files is None else tls_problem(*files)
    if problem is None:
        return []
    what, todo = problem
    where = settings.document.where(("controlplane", "tls"))
    return [Fault(what, todo, where, "the API cannot serve TLS")]


def _faults_of_the_rest(document: Document, folder: Path) -> list[Fault]:
    """What else is wrong, among the objects whose shape is right."""
    valid = _valid(document, "gateways", GatewayModel)
    gateways = {name: _absolute(gateway, folder) for name, gateway in valid.items()}
    routes = _valid(document, "routes", RouteModel)

    def where(*pointer: str | int) -> Location | None:
        return document.where(pointer)

    faults = check_objects(
        {**dict.fromkeys(_section(document, "gateways")), **gateways},
        dict.fromkeys(_section(document, "services")),
        routes,
        where,
    )
    faults += check_tls(gateways, where)
    return [*faults, *_faults_of_moves(document, routes, where)]


def _faults_of_moves(
    document: Document, routes: Mapping[str, Route], where: Callable[..., Location | None]
) -> Iterator[Fault]:
    """What is wrong with comparisons and migrations that rest on nothing of the wrong shape."""
    services = _valid(document, "services", ServiceModel)
    spoilt = _section(document, "routes").keys() - routes.keys()
    bad_services = _section(document, "services").keys() - services.keys()
    models = {
        name: model
        for name, model in _models(document, "compare", CompareModel).items()
        if name not in spoilt and not bad_services & {model.candidate, model.primary}
    }
    comparisons = comparisons_of(models, routes)
    yield from check_comparisons(comparisons, routes, services, where)
    spoilt |= _section(document, "compare").keys() - comparisons.keys()
    plans = _valid(document, "migrations", MigrationModel)
    fit = {name: plan for name, plan in plans.items() if plan.route not in spoilt}
    yield from check_migrations(fit, routes, comparisons, where)


def _section(document: Document, section: str) -> Mapping[str, Any]:
    found = document.data.get(section)
    return found if isinstance(found, dict) else {}


def _valid(document: Document, section: str, model: type[Any]) -> dict[str, Any]:
    return {name: one.as_value(name) for name, one in _models(document, section, model).items()}


def _models(document: Document, section: str, model: type[Any]) -> dict[str, Any]:
    found = {}
    for name, body in _section(document, section).items():
        with contextlib.suppress(ValidationError):
            found[name] = model.model_validate(body)
    return found


def settings_schema() -> dict[str, Any]:
    """The JSON Schema of the file, for editors."""
    schema = SettingsModel.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "moreton.yaml",
    }


def parse_route(name: str, body: object) -> Route:
    """A route that came as JSON; raises `ConfigRefused`. `policy` is for the file only."""
    model = _parse(RouteModel, name, "route", body)
    _refuse_file_only("route", name, "policy", model.policy)
    route: Route = model.as_value(name)
    return route


def parse_service(name: str, body: object) -> Service:
    """A service that came as JSON; raises `ConfigRefused`. Some keys are for the file only."""
    model = _parse(ServiceModel, name, "service", body)
    for key in ("run", "policy", "checks", "protect", "file", "dns"):
        _refuse_file_only("service", name, key, getattr(model, key))
    service: Service = model.as_value(name)
    return service


def _refuse_file_only(kind: str, name: str, key: str, value: object) -> None:
    if value is not None:
        todo = "write it into moreton.yaml, or leave it out"
        raise ConfigRefused([Fault(f"{kind} {name!r} has `{key}`", todo)])


def _parse(model: type[Any], name: str, kind: str, body: object) -> Any:
    try:
        return model.model_validate(body)
    except ValidationError as error:
        faults = [
            Fault(f"{kind} {name!r}: {fault.what}", fault.todo, None, fault.prevents)
            for fault in faults_of(error, model, None)
        ]
        raise ConfigRefused(faults) from error


def _absolute(gateway: Gateway, folder: Path) -> Gateway:
    """*gateway* with its files' paths made absolute."""

    def listener(one: Listener) -> Listener:
        if one.tls is None:
            return one
        certificate, key = (
            str((folder / p).absolute()) for p in (one.tls.certificate, one.tls.key)
        )
        return Listener(one.address, TlsFiles(certificate, key))

    log = gateway.access_log
    if log not in {None, "stdout"}:
        log = str((folder / str(log)).absolute())
    return Gateway(
        gateway.name,
        tuple(listener(one) for one in gateway.listeners),
        access_log=log,
        trusted_proxies=gateway.trusted_proxies,
        max_connections=gateway.max_connections,
    )
