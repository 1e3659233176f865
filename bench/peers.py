"""The other proxies, each with the smallest configuration that does the same work."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from bench.processes import need, running
from moreton.envoy.binary import find_envoy
from moreton.kernel.ports import free_port

_HCM = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)
_EVERYTHING = ("/",)
_ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"


class Proxy(Protocol):
    """Starts a proxy on a port in front of an upstream port, pinned to cores."""

    def __call__(
        self,
        folder: Path,
        port: int,
        upstream: int,
        cores: str | None,
        prefixes: Sequence[str] = _EVERYTHING,
    ) -> AbstractContextManager[None]:
        """The proxy, running within the context; nginx, HAProxy and Caddy know one prefix."""
        ...


def _envoy_bootstrap(port: int, routes: list[object], clusters: list[object]) -> object:
    manager = {
        "@type": _HCM,
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": _ROUTER}}],
    }
    chain = {"filters": [{"name": "http", "typed_config": manager}]}
    listener = {"name": "bench", "address": _address(port), "filter_chains": [chain]}
    return {
        "admin": {"address": _address(free_port())},
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


def _address(port: int) -> object:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


@contextlib.contextmanager
def _envoy(folder: Path, port: int, bootstrap: object, cores: str | None) -> Iterator[None]:
    path = folder / f"envoy-{port}.json"
    path.write_text(json.dumps(bootstrap))
    command = [str(find_envoy(None)), "-c", str(path), "--concurrency", "1", "-l", "error"]
    command += ["--use-dynamic-base-id"]
    with running(command, log=folder / f"envoy-{port}.log", port=port, cores=cores):
        yield


@contextlib.contextmanager
def backend(folder: Path, port: int, body: str, cores: str | None = None) -> Iterator[None]:
    """An Envoy that answers every request itself with *body*: fast, and always there."""
    answer = {"status": 200, "body": {"inline_string": body}}
    route = {"match": {"prefix": "/"}, "direct_response": answer}
    with _envoy(folder, port, _envoy_bootstrap(port, [route], []), cores):
        yield


@contextlib.contextmanager
def light_backend(folder: Path, port: int, body: str, cores: str | None = None) -> Iterator[None]:
    """An nginx that answers every request itself with *body*, for a third of an Envoy's CPU.

    A proxy is the bottleneck only before something lighter than itself.
    """
    path = folder / f"backend-{port}.conf"
    path.write_text(
        f"daemon off; master_process off; pid {folder}/backend-{port}.pid; error_log stderr;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; keepalive_requests 100000000; keepalive_timeout 1h;\n"
        f" client_body_temp_path {folder}; proxy_temp_path {folder};\n"
        f" fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
        f' server {{ listen 127.0.0.1:{port}; location / {{ return 200 "{body}"; }} }} }}\n'
    )
    command = [need("nginx"), "-c", str(path), "-p", str(folder)]
    with running(command, log=folder / f"backend-{port}.log", port=port, cores=cores):
        yield


@contextlib.contextmanager
def bare_envoy(
    folder: Path, port: int, upstream: int, cores: str | None, prefixes: Sequence[str] = _EVERYTHING
) -> Iterator[None]:
    """Envoy with a minimal hand-written configuration."""
    endpoint = {"endpoint": {"address": _address(upstream)}}
    cluster = {
        "name": "backend",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "backend",
            "endpoints": [{"lb_endpoints": [endpoint]}],
        },
    }
    routes: list[object] = [
        {"match": {"prefix": prefix}, "route": {"cluster": "backend"}} for prefix in prefixes
    ]
    bootstrap = _envoy_bootstrap(port, routes, [cluster])
    with _envoy(folder, port, bootstrap, cores):
        yield


@contextlib.contextmanager
def traefik(
    folder: Path, port: int, upstream: int, cores: str | None, prefixes: Sequence[str] = _EVERYTHING
) -> Iterator[None]:
    """Traefik with its file provider."""
    dynamic = folder / f"traefik-{port}" / "dynamic.yml"
    dynamic.parent.mkdir()
    servers = [{"url": f"http://127.0.0.1:{upstream}"}]
    dynamic.write_text(
        json.dumps(
            {
                "http": {
                    "routers": {
                        f"r{number}": {"rule": f"PathPrefix(`{prefix}`)", "service": "backend"}
                        for number, prefix in enumerate(prefixes)
                    },
                    "services": {"backend": {"loadBalancer": {"servers": servers}}},
                }
            }
        )
    )
    command = [
        need("traefik"),
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--providers.file.directory={dynamic.parent}",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    env = {"GOMAXPROCS": "1"}
    log = folder / f"traefik-{port}.log"
    with running(command, log=log, port=port, cores=cores, env=env):
        yield


@contextlib.contextmanager
def caddy(
    folder: Path, port: int, upstream: int, cores: str | None, prefixes: Sequence[str] = _EVERYTHING
) -> Iterator[None]:
    """Caddy's reverse_proxy."""
    assert prefixes == _EVERYTHING
    path = folder / f"Caddyfile-{port}"
    path.write_text(
        "{\n admin off\n auto_https off\n persist_config off\n}\n"
        f"http://127.0.0.1:{port} {{\n bind 127.0.0.1\n"
        f" reverse_proxy 127.0.0.1:{upstream}\n}}\n"
    )
    command = [need("caddy"), "run", "--config", str(path), "--adapter", "caddyfile"]
    env = {"GOMAXPROCS": "1", "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    log = folder / f"caddy-{port}.log"
    with running(command, log=log, port=port, cores=cores, env=env):
        yield


@contextlib.contextmanager
def nginx(
    folder: Path, port: int, upstream: int, cores: str | None, prefixes: Sequence[str] = _EVERYTHING
) -> Iterator[None]:
    """Nginx with kept-alive upstream connections."""
    assert prefixes == _EVERYTHING
    path = folder / f"nginx-{port}.conf"
    path.write_text(
        f"daemon off; worker_processes 1; pid {folder}/nginx-{port}.pid; error_log stderr;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; keepalive_requests 100000000;\n"
        f" client_body_temp_path {folder}; proxy_temp_path {folder};\n"
        f" fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
        f" upstream backend {{ server 127.0.0.1:{upstream}; keepalive 256;"
        " keepalive_requests 100000000; }\n"
        f" server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://backend;"
        ' proxy_http_version 1.1; proxy_set_header Connection ""; } } }\n'
    )
    command = [need("nginx"), "-c", str(path), "-p", str(folder)]
    with running(command, log=folder / f"nginx-{port}.log", port=port, cores=cores):
        yield


@contextlib.contextmanager
def haproxy(
    folder: Path, port: int, upstream: int, cores: str | None, prefixes: Sequence[str] = _EVERYTHING
) -> Iterator[None]:
    """HAProxy in HTTP mode on one thread."""
    assert prefixes == _EVERYTHING
    path = folder / f"haproxy-{port}.cfg"
    path.write_text(
        "global\n  nbthread 1\n  maxconn 4096\n"
        "defaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n"
        "  timeout server 30s\n  http-reuse always\n"
        f"frontend web\n  bind 127.0.0.1:{port}\n  default_backend app\n"
        f"backend app\n  server s1 127.0.0.1:{upstream}\n"
    )
    command = [need("haproxy"), "-db", "-f", str(path)]
    with running(command, log=folder / f"haproxy-{port}.log", port=port, cores=cores):
        yield
