"""Configurations and the Envoy resources that they become; a real Envoy takes all of them.

A case is a part of `moreton.yaml`; what it lacks is filled in. `routes`, `services`, `gateways`,
`weights`, `limits` and `bans` say which of the resources are shown; `stage=1` says how far the
migrations in it are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from moreton.controlplane.migrations.records import weights_of
from moreton.controlplane.settings import Settings, load_settings
from moreton.envoy.binary import find_envoy
from moreton.envoy.core.resources import Resource, Snapshot, TypeUrl
from moreton.envoy.preflight import Preflight
from moreton.envoy.static import static_bootstrap
from moreton.gateway.compile import GatewayCompiler, Tracing
from moreton.gateway.core.model import Destination, Gateway, Listener, Mirror, Route
from moreton.ratelimit.core.rules.values import Ban
from moreton.sim.script import Command, Handler
from moreton.strangler.rollout.core.progress import Phase, Progress, move_of, share_of
from support.certificates import make_certificate
from support.compiled_text import as_text

FOLDER = Path(__file__).parent / "compile"
SCRIPTS = sorted(FOLDER.glob("*.txt"))
CASES_MIN = 60
DEFAULTS = {
    "version": "version: 1",
    "gateways": "gateways: {public: {listeners: [{address: '127.0.0.1:8080'}]}}",
    "services": "services: {shop: {addresses: ['127.0.0.1:8000']}, catalogue: {discover: true}, "
    "audit: {discover: true}}",
}
# Of limits on connections, empty without any.
PLACES = ("arrivals/", "connections/")
SHOWN = {
    "routes": {TypeUrl.ROUTES},
    "services": {TypeUrl.CLUSTER, TypeUrl.ENDPOINTS},
    "gateways": {TypeUrl.LISTENER, TypeUrl.SECRET, TypeUrl.CLUSTER},
    "weights": {TypeUrl.RUNTIME},
    "limits": {TypeUrl.EXTENSION},
    "bans": {TypeUrl.EXTENSION},
}


def settings_of(command: Command, folder: Path) -> Settings:
    make_certificate(folder)
    path = folder / "moreton.yaml"
    lines = [line for key, line in DEFAULTS.items() if f"\n{key}:" not in f"\n{command.input}"]
    path.write_text("\n".join([*lines, command.input]))
    return load_settings(path)


def tracing_of(settings: Settings) -> Tracing | None:
    told = settings.tracing
    return None if told is None else Tracing(told.otlp, told.sample)


def routes_of(settings: Settings, stage: int) -> Iterator[Route]:
    moves = {
        plan.route: (plan, Progress(Phase.RUNNING, stage - 1))
        for plan in settings.migrations.values()
        if stage
    }
    for route in settings.routes.values():
        if route.name not in moves:
            yield route
            continue
        plan, progress = moves[route.name]
        weights = weights_of(plan, share_of(plan, progress))
        to = tuple(Destination(each.service, weights[each.service]) for each in route.to)
        yield replace(route, to=to, move=move_of(plan, progress))


def stage_of(command: Command) -> int:
    return command.number("stage", 0)


def compiled(settings: Settings, stage: int = 0) -> list[Resource]:
    compiler = GatewayCompiler(tracing_of(settings))
    for gateway in settings.gateways.values():
        compiler.put_gateway(gateway)
    for service in settings.services.values():
        compiler.put_service(service)
    for route in routes_of(settings, stage):
        compiler.put_route(route)
    compiler.put_clients(settings.limits.clients)
    compiler.put_bans(settings.limits.clients.bans)
    for rule in settings.limits.rules.values():
        compiler.put_limit(rule)
    changed, removed = compiler.take()
    assert not removed
    return changed


def shown(command: Command, settings: Settings) -> Iterator[Resource]:
    for resource in compiled(settings, stage_of(command)):
        if resource.key.name.startswith(PLACES) and "connections" not in command.input:
            continue
        if resource.key.name.startswith("route-limits/") and b"limit/" not in resource.body:
            continue
        is_own = command.name != "gateways" or resource.key.name not in settings.services
        is_of_bans = resource.key.name.startswith("bans/")
        if command.name in {"bans", "limits"} and is_of_bans is not (command.name == "bans"):
            continue
        if resource.key.type_url in SHOWN[command.name] and is_own:
            yield resource


def show(command: Command, folder: Path) -> str:
    resources = shown(command, settings_of(command, folder))
    return as_text(resources, whole="whole" in command.words).replace(str(folder), "FOLDER")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_configuration_compiles_to_these_resources(
    script: Path, run_script: Callable[[Path, Handler], int], tmp_path: Path
) -> None:
    run_script(script, lambda command: show(command, tmp_path))


@dataclass
class Together:
    """All cases in one compiler: their objects renamed, each gateway on a port of its own."""

    compiler: GatewayCompiler
    cases: int = 0
    port: int = 20_000
    bans: tuple[Ban, ...] = ()

    def add(self, settings: Settings, stage: int) -> None:
        self.cases += 1
        prefix = f"case{self.cases}."
        for gateway in settings.gateways.values():
            self.compiler.put_gateway(self._renamed(gateway, prefix))
        for service in settings.services.values():
            self.compiler.put_service(replace(service, name=prefix + service.name))
        self.bans += settings.limits.clients.bans
        self.compiler.put_bans(self.bans)
        names = frozenset(prefix + name for name in settings.gateways)
        for route in routes_of(settings, stage):
            gateways = frozenset(prefix + name for name in route.gateways) or names
            self.compiler.put_route(_of_services(replace(route, gateways=gateways), prefix))

        for rule in settings.limits.rules.values():
            at = frozenset(prefix + name for name in rule.match.gateways) or names
            match = replace(rule.match, gateways=at)
            self.compiler.put_limit(replace(rule, name=prefix + rule.name, match=match))

    def _renamed(self, gateway: Gateway, prefix: str) -> Gateway:
        listeners = []
        for listener in gateway.listeners:
            self.port += 1
            listeners.append(Listener(replace(listener.address, port=self.port), listener.tls))
        return replace(gateway, name=prefix + gateway.name, listeners=tuple(listeners))


def _of_services(route: Route, prefix: str) -> Route:
    move = route.move
    return replace(
        route,
        move=None if move is None else replace(move, to=prefix + move.to),
        name=prefix + route.name,
        to=tuple(Destination(prefix + to.service, to.weight) for to in route.to),
        mirrors=tuple(Mirror(prefix + one.service, one.share) for one in route.mirrors),
    )


def test_a_real_envoy_takes_every_case(
    run_script: Callable[[Path, Handler], int], tmp_path: Path
) -> None:
    together = Together(GatewayCompiler(Tracing("http://127.0.0.1:4318")))

    def add(command: Command) -> str:
        together.add(settings_of(command, tmp_path), stage_of(command))
        return show(command, tmp_path)

    for script in SCRIPTS:
        run_script(script, add)
    assert together.cases >= CASES_MIN
    changed, _ = together.compiler.take()
    bootstrap = static_bootstrap(
        Snapshot().changed(changed), node="test", group="test", admin_socket=tmp_path / "admin.sock"
    )
    assert asyncio.run(Preflight(find_envoy(None))(bootstrap)) == ""
