"""A static bootstrap of compiled resources: what it holds, and that Envoy takes both its forms."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from moreton.config.words import read_path
from moreton.envoy.binary import find_envoy
from moreton.envoy.core.resources import Snapshot
from moreton.envoy.static import bootstrap_as_json, static_bootstrap
from moreton.gateway.compile import GatewayCompiler
from moreton.gateway.core.model import (
    Address,
    Destination,
    Gateway,
    Listener,
    Route,
    RouteMatch,
    Service,
    TlsFiles,
)
from moreton.kernel.quantities import parse_rate
from moreton.ratelimit.core.rules.bounds import RateBound
from moreton.ratelimit.core.rules.values import LimitRule
from support.certificates import make_certificate

pytestmark = pytest.mark.e2e


def snapshot(files: TlsFiles) -> Snapshot:
    compiler = GatewayCompiler()
    compiler.put_gateway(Gateway("public", (Listener(Address("127.0.0.1", 8443), files),)))
    compiler.put_service(Service("shop", (Address("127.0.0.1", 8000),)))
    compiler.put_service(Service("new", (Address("127.0.0.1", 8001),)))
    to = (Destination("shop", 1), Destination("new", 0))
    # Its program is larger than Envoy allows by default, and than Moreton's proxies do not.
    path = read_path("/" + "/".join(f"{{v{number}}}" for number in range(20)))
    compiler.put_route(Route("long", RouteMatch(path), to=to))
    compiler.put_route(Route("gone", RouteMatch(read_path("/gone")), to=(Destination("gone"),)))
    compiler.put_limit(LimitRule("all", (RateBound(parse_rate("5/s"), 5),)))
    compiler.put_weights("long", {"shop": 30, "new": 70})
    return Snapshot().changed(compiler.take()[0])


def made(folder: Path, secret_files: dict[str, str]) -> bytes:
    return static_bootstrap(
        snapshot(TlsFiles(str(folder / "cert.pem"), str(folder / "key.pem"))),
        node="n",
        group="g",
        admin_socket=folder / "admin.sock",
        secret_files=secret_files,
    )


@pytest.mark.parametrize("form", ["json", "pb"])
def test_envoy_takes_the_bootstrap(tmp_path: Path, form: str) -> None:
    files = make_certificate(tmp_path)
    bootstrap = made(tmp_path, {files.certificate: files.key})
    file = tmp_path / f"bootstrap.{form}"
    file.write_bytes(bootstrap_as_json(bootstrap).encode() if form == "json" else bootstrap)
    done = subprocess.run(
        [str(find_envoy(None)), "--mode", "validate", "-c", str(file), "--log-level", "error"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


def test_bootstrap_holds_all_that_would_come_over_ads(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    bootstrap: Any = json.loads(bootstrap_as_json(made(tmp_path, {})))
    assert "dynamic_resources" not in bootstrap
    assert '"ads"' not in json.dumps(bootstrap)
    clusters = {one["name"]: one for one in bootstrap["static_resources"]["clusters"]}
    (group,) = clusters["shop"]["load_assignment"]["endpoints"]
    assert clusters["shop"].get("type", "STATIC") == "STATIC"
    assert len(group["lb_endpoints"]) == 1
    layers = {one["name"]: one["static_layer"] for one in bootstrap["layered_runtime"]["layers"]}
    assert layers["weights"] == {
        "weights.long:.new": 70,
        "weights.long:.shop": 30,
        "limits.all:enabled": {"numerator": 1e6, "denominator": "MILLION"},
        "limits.all:enforced": {"numerator": 1e6, "denominator": "MILLION"},
    }
    assert "re2.max_program_size.error_level" in layers["limits"]


def test_private_key_is_not_copied_when_its_file_is_known(tmp_path: Path) -> None:
    files = make_certificate(tmp_path)
    assert b"PRIVATE KEY" not in made(tmp_path, {files.certificate: files.key})
    assert b"PRIVATE KEY" in made(tmp_path, {})


def test_bootstrap_is_the_same_each_time(tmp_path: Path) -> None:
    make_certificate(tmp_path)
    assert made(tmp_path, {}) == made(tmp_path, {})
