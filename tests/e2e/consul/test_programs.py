"""Programs that were written for Consul, unmodified: Prometheus and Traefik."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from e2e.consul.world import ConsulServer, backend, running
from support.debian import need
from support.ports import free_port
from support.waits import wait_until
from unit.registry.consul.asking import TOKEN

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).parents[3]
PASSING = {"TTL": "10m", "Status": "passing"}


def read(url: str) -> bytes | None:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        return bytes(answer.read())
    return None


def test_prometheus_follows_services(server: ConsulServer, tmp_path: Path) -> None:
    """By Prometheus' own package for it; Debian's Prometheus is built without that."""
    program = need(str(ROOT / "build" / "consul_sd"), "golang-go; .ci/servers")
    found: list[dict[str, Any]] = []
    server.register(
        "metrics", ID="one", Port=9101, Tags=["blue"], Meta={"team": "fig"}, Check=PASSING
    )
    output = tmp_path / "found"

    def addresses() -> set[str]:
        """What Prometheus would scrape now: it tells everything anew with each change."""
        told = output.read_text().splitlines() if output.exists() else []
        found[:] = [json.loads(line) for line in told if line.startswith("{")]
        return {each["__address__"] for each in found[-1]["targets"] or ()} if found else set()

    with running([program, f"127.0.0.1:{server.port}", TOKEN, "metrics"], output):
        first = "127.0.0.1:9101"
        wait_until(lambda: addresses() == {first}, "it found the service")
        labels = found[-1]["targets"][0]
        assert found[-1]["labels"]["__meta_consul_dc"] == "dc1", "asked of agent/self"
        assert labels["__meta_consul_health"] == "passing"
        assert labels["__meta_consul_node"] == "moreton"
        assert labels["__meta_consul_service_metadata_team"] == "fig"
        assert labels["__meta_consul_tags"] == ",blue,"
        server.register("metrics", ID="two", Port=9102)
        wait_until(lambda: addresses() == {first, "127.0.0.1:9102"}, "it was told of the second")
        server.ask("PUT", "/v1/agent/service/deregister/one")
        wait_until(lambda: addresses() == {"127.0.0.1:9102"}, "it was told of the end")


def test_traefik_routes_requests_to_what_is_healthy(server: ConsulServer, tmp_path: Path) -> None:
    traefik = shutil.which("traefik", path=str(Path(sys.executable).parent))
    assert traefik is not None, "the extra bench brings it"
    entry = free_port()
    provider = {
        "endpoint": {"address": f"127.0.0.1:{server.port}", "token": TOKEN},
        "exposedByDefault": False,
        "refreshInterval": "1s",
        "watch": True,
    }
    static = {
        "entryPoints": {"web": {"address": f"127.0.0.1:{entry}"}},
        "providers": {"consulCatalog": provider, "providersThrottleDuration": "100ms"},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "log": {"level": "DEBUG"},
    }
    (tmp_path / "traefik.yml").write_text(json.dumps(static))
    tags = ["traefik.enable=true", "traefik.http.routers.web.rule=PathPrefix(`/`)"]
    url = f"http://127.0.0.1:{entry}/"

    def said() -> set[bytes | None]:
        return {read(url) for _ in range(6)}

    with backend("fig") as fig, backend("elm") as elm:
        server.register("web", ID="fig", Port=fig, Tags=tags, Check=PASSING)
        command = [traefik, f"--configfile={tmp_path}/traefik.yml"]
        with running(command, tmp_path / "traefik.log"):
            wait_until(lambda: read(url) == b"fig", "it routes to the first")
            server.register("web", ID="elm", Port=elm, Tags=tags, Check=PASSING)
            wait_until(lambda: said() == {b"fig", b"elm"}, "it routes to both")
            server.ask("PUT", "/v1/agent/check/fail/service:fig")
            wait_until(lambda: said() == {b"elm"}, "it leaves out the critical one")
            server.ask("PUT", "/v1/agent/check/pass/service:fig")
            server.ask("PUT", "/v1/agent/service/maintenance/elm?enable=true")
            wait_until(lambda: said() == {b"fig"}, "it leaves out the one in maintenance")
