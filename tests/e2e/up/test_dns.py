"""The DNS server of a real control plane, asked by the programs that users have."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.up.world import World
from moreton.kernel.rng import seeded_rng
from moreton.registry import InstanceView
from moreton.registry.dns import DnsServer, DnsSettings, Responder, dns_sockets
from support.debian import need
from support.ports import free_port
from support.waits import join_all, wait_until


def with_dns(world: World, **dns: Any) -> int:
    """Start *world* with a DNS server; its port."""
    port = free_port()
    world.write(world.configuration(dns={"listen": f"127.0.0.1:{port}"} | dns))
    world.start()
    return port


def register(world: World, port: int, name: str, **more: Any) -> None:
    body = {"id": name, "address": "127.0.0.1", "port": port, "ttl": "1h", **more}
    world.api.call("POST", f"/v1/services/{more.pop('service', 'orders')}/instances", body)


def dig(port: int, *arguments: str) -> str:
    command = [need("dig", "bind9-dnsutils"), "@127.0.0.1", "-p", str(port), "+tries=1", "+time=5"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_dig_finds_every_kind_of_record(world: World) -> None:
    port = with_dns(world, domains=["moreton", "consul"])
    register(world, 8001, "a", zone="east", weight=5, tags=["blue"], metadata={"team": "fig"})
    register(world, 8002, "b", zone="west")

    def lines(*arguments: str) -> set[str]:
        return set(dig(port, "+short", *arguments).splitlines())

    wait_until(lambda: len(lines("orders.service.consul", "SRV")) == 2, "both are named")
    assert lines("orders.service.moreton", "A") == {"127.0.0.1"}
    assert lines("orders.service.moreton", "AAAA") == set()
    assert lines("orders.service.moreton", "SRV") == {
        "1 5 8001 7f000001.addr.moreton.",
        "1 1 8002 7f000001.addr.moreton.",
    }
    assert lines("_orders._tcp.service.east.consul", "SRV") == {"1 5 8001 7f000001.addr.consul."}
    assert '"team=fig"' in lines("blue.orders.service.moreton", "TXT")
    # The addresses of moreton.yaml are instances as well.
    there = {f"{name}.service.moreton." for name in ("a", "b", "orders")}
    wait_until(lambda: lines("-x", "127.0.0.1") == there, "all that are at the address")
    assert lines("7f000001.addr.moreton", "A") == {"127.0.0.1"}
    assert lines("moreton", "NS") == {"ns.moreton."}
    assert "moreton." in next(iter(lines("moreton", "SOA")))
    assert "status: NXDOMAIN" in dig(port, "nobody.service.moreton")
    assert "status: REFUSED" in dig(port, "example.org")
    assert 'moreton_dns_responses{rcode="NOERROR"}' in metrics(world)


def metrics(world: World) -> str:
    token = (world.folder / ".moreton" / "token").read_text().strip()
    request = urllib.request.Request(
        f"http://127.0.0.1:{world.api_port}/metrics", headers={"authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - http, to ourselves
        return str(answer.read().decode())


def test_dig_asks_again_over_tcp_for_what_does_not_fit(world: World) -> None:
    port = with_dns(world)
    for number in range(60):
        register(world, 8000 + number, f"i{number}")
    srv = ("orders.service.moreton", "SRV")
    wait_until(lambda: len(dig(port, "+short", *srv).splitlines()) == 60, "all are named over TCP")
    cut = dig(port, "+ignore", "+noedns", *srv)
    assert " tc" in cut
    size = int(cut.rpartition("rcvd: ")[2].split()[0])
    assert 400 < size <= 512
    assert " tc" not in dig(port, "+tcp", *srv)


def test_instance_that_leaves_is_not_named_any_more(world: World) -> None:
    port = with_dns(world)
    register(world, 8001, "a")
    wait_until(lambda: dig(port, "+short", "orders.service.moreton"), "it is named")
    world.api.call("DELETE", "/v1/services/orders/instances/a")
    wait_until(lambda: "NXDOMAIN" in dig(port, "orders.service.moreton"), "it is not named")


def test_names_of_others_are_passed_on_when_told_to(world: World) -> None:
    other = free_port()
    with other_server(other):
        port = with_dns(world, recursors=[f"127.0.0.1:{free_port()}", f"127.0.0.1:{other}"])
        assert "127.0.0.9" in dig(port, "+time=10", "7f000009.addr.elsewhere")
        assert "127.0.0.9" in dig(port, "+tcp", "+time=10", "7f000009.addr.elsewhere")


@contextlib.contextmanager
def other_server(port: int) -> Iterator[None]:
    """A server for another domain, on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    settings = DnsSettings(domains=("elsewhere",))
    server = DnsServer(Responder(InstanceView(), settings, rng=seeded_rng(1)))
    begin = server.start(*dns_sockets("127.0.0.1", port))
    asyncio.run_coroutine_threadsafe(begin, loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        join_all([thread])
        loop.close()


def test_port_of_dns_in_use_is_one_message(world: World) -> None:
    datagrams, listening = dns_sockets("127.0.0.1", 0)
    with datagrams, listening:
        port = datagrams.getsockname()[1]
        world.write(world.configuration(dns={"listen": f"127.0.0.1:{port}"}))
        done = world.run("up")
    assert done.returncode != 0
    assert f"127.0.0.1:{port}" in done.stderr
    assert "DNS" in done.stderr
    assert "Traceback" not in done.stderr


def test_haproxy_follows_a_service_by_its_srv_records(world: World, tmp_path: Path) -> None:
    port = with_dns(world)
    front = free_port()
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        "defaults\n mode http\n timeout connect 2s\n timeout client 5s\n timeout server 5s\n"
        f"resolvers moreton\n nameserver one 127.0.0.1:{port}\n accepted_payload_size 1232\n"
        " hold valid 100ms\n hold nx 100ms\n hold obsolete 100ms\n timeout resolve 100ms\n"
        f"frontend web\n bind 127.0.0.1:{front}\n default_backend orders\n"
        "backend orders\n server-template o 5 _orders._tcp.service.moreton resolvers moreton"
        " init-addr none check inter 200ms\n"
    )
    command = [need("haproxy", "haproxy"), "-db", "-f", str(configuration)]
    with running(command, tmp_path / "haproxy.log"):
        assert asked(front) is None
        address = world.backend("orders-1")
        register(world, int(address.rpartition(":")[2]), "one")
        wait_until(lambda: asked(front) == "orders-1", "HAProxy found the instance")


def asked(port: int) -> str | None:
    url = f"http://127.0.0.1:{port}/"
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return str(answer.read().decode())
    return None


@pytest.mark.slow
def test_prometheus_finds_its_targets_by_srv_records(world: World, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("a resolver listens on port 53, for which one must be root: NOT tested")
    host = "127." + ".".join(str(secrets.randbelow(254) + 1) for _ in range(3))
    with_dns(world, listen=f"{host}:53")
    address = world.backend("target")
    register(world, int(address.rpartition(":")[2]), "one")
    own = free_port()
    found = {"names": ["_orders._tcp.service.moreton"], "refresh_interval": "1s"}
    scrape = {"job_name": "orders", "scrape_interval": "1s", "dns_sd_configs": [found]}
    (tmp_path / "prometheus.yml").write_text(json.dumps({"scrape_configs": [scrape]}))
    (tmp_path / "resolv.conf").write_text(f"nameserver {host}\n")
    program = (
        f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && "
        f"exec {need('prometheus', 'prometheus')} --config.file={tmp_path}/prometheus.yml "
        f"--storage.tsdb.path={tmp_path}/data --web.listen-address=127.0.0.1:{own}"
    )
    with running(["unshare", "--mount", "sh", "-c", program], tmp_path / "prometheus.log"):
        wanted = [f"7f000001.addr.moreton:{address.rpartition(':')[2]}"]
        wait_until(lambda: targets(own) == wanted, "Prometheus has the target")


def targets(port: int) -> list[str]:
    with contextlib.suppress(OSError):
        url = f"http://127.0.0.1:{port}/api/v1/targets"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found = json.loads(answer.read())["data"]["activeTargets"]
        return [one["labels"]["instance"] for one in found]
    return []


@contextlib.contextmanager
def running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("ab") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield
    finally:
        child.terminate()
        child.wait(30)
