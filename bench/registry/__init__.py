"""What a registry costs: renewals, watchers, memory, names, reads; beside etcd and dnsmasq.

10,000 instances of 200 services, each with a connection of its own, renew every 5 s; 1,000
watchers of the 200 services are told of 50 changes a second while the renewals go on. What serves
has core 0, what asks core 1; the systems take turns within one run, the others idle meanwhile. CPU
is the scheduler's own count of all threads of the process that serves.

etcd is Debian's. It is asked over its JSON gateway just as we are asked over HTTP, connection by
connection; and over gRPC, where its client sends for all leases on one stream, as a client of ours
may renew many in one request.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.registry.asking import asked_names, consul_reads, most_names, stream_renewals
from bench.registry.figures import DNSMASQ, GRPC, JSON, OURS, Rounds, result
from bench.registry.places import MoretonServed, Served, dnsmasq, etcd, moreton
from bench.report import Result

SERVICES = 200
WATCHERS = 1000
CHANGES_PER_SECOND = 50
RENEWALS_PER_SECOND = 10_000 / 5
ASKED_PER_SECOND = 2000
_CLIENTS = 64


@dataclass(frozen=True, slots=True)
class _Size:
    """How much of everything: as many renewals a second in either, of fewer instances if quick."""

    instances: int
    rounds: int
    seconds: float


def run(*, quick: bool, console: Console) -> Result:
    """Measure ours, etcd and dnsmasq in turn."""
    size = _Size(2_000, 1, 2.0) if quick else _Size(10_000, 5, 6.0)
    found: Rounds = defaultdict(lambda: defaultdict(list))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(moreton(folder / "moreton", SERVICES))
        peer = stack.enter_context(etcd(folder / "etcd", SERVICES))
        mask = stack.enter_context(dnsmasq(folder, SERVICES, size.instances))
        for system, name in ((ours, OURS), (peer, JSON)):
            seconds = system.ask("register", count=size.instances)["seconds"]
            found[name]["registrations/s"].append(size.instances / seconds)
        for number in range(size.rounds):
            console.print(f"renewals, round {number + 1} of {size.rounds}", highlight=False)
            _renewals(ours, peer, size, found)
        for system in (ours, peer):
            system.ask("watch", count=WATCHERS)
        for number in range(size.rounds):
            console.print(f"changes, round {number + 1} of {size.rounds}", highlight=False)
            _changes(ours, size, found[OURS])
            _changes(peer, size, found[JSON])
        found[OURS]["resident MiB"].append(ours.resident_mib())
        found[JSON]["resident MiB"].append(peer.resident_mib())
        for number in range(size.rounds):
            console.print(f"names, round {number + 1} of {size.rounds}", highlight=False)
            _names(ours.dns_port, size, found[OURS], folder)
            _names(mask, size, found[DNSMASQ], folder)
            _reads(ours, size, found[OURS])
    return result(found, instances=size.instances)


def _renewals(ours: MoretonServed, peer: Served, size: _Size, found: Rounds) -> None:
    paced = {"rate": RENEWALS_PER_SECOND, "seconds": size.seconds}
    before = ours.log()
    _note(found[OURS], "renewals", ours.ask("renew", **paced))
    _note(found[JSON], "renewals", peer.ask("renew", **paced))
    _note(found[GRPC], "renewals", stream_renewals(peer, size.instances, **paced))
    _note(found[OURS], "renewals by 500", ours.ask("renew_together", seconds=size.seconds))
    quick = {"clients": _CLIENTS, "seconds": size.seconds / 2}
    _note(found[OURS], "most renewals", ours.ask("flood", **quick))
    _note(found[JSON], "most renewals", peer.ask("flood", **quick))
    flood = stream_renewals(peer, size.instances, rate=0, seconds=size.seconds / 2)
    _note(found[GRPC], "most renewals", flood)
    found[OURS]["writes to the store"].append(ours.log() != before)


def _note(figures: dict[str, list[float]], what: str, measured: dict[str, float]) -> None:
    """A measured run of renewals: their number, the CPU of the server, the latencies."""
    figures["failed renewals"].append(measured["failed"])
    figures[f"{what}, /s"].append(measured["renewed"] / measured["seconds"])
    cpu = measured["cpu_seconds"]
    figures[f"{what}, CPU µs each"].append(cpu / measured["renewed"] * 1e6)
    if what.startswith("renewals"):
        figures[f"{what}, % of a core"].append(cpu / measured["seconds"] * 100)
    figures[f"{what}, p50 ms"].append(measured["p50_ms"])
    figures[f"{what}, p99 ms"].append(measured["p99_ms"])


def _changes(system: Served, size: _Size, figures: dict[str, list[float]]) -> None:
    measured = system.ask(
        "change", rate=CHANGES_PER_SECOND, seconds=size.seconds, renewals=RENEWALS_PER_SECOND
    )
    renewals = measured["renewals"]
    figures["failed renewals"].append(renewals["failed"])
    figures["failed changes"].append(measured["failed"])
    figures["notices"].append(measured["own"])
    figures["notices missed"].append(measured["expected"] - measured["own"])
    figures["notices for others"].append(measured["foreign"] + measured["lost"])
    figures["write, p50 ms"].append(measured["write_p50_ms"])
    figures["notice, p50 ms"].append(measured["p50_ms"])
    figures["notice, p99 ms"].append(measured["p99_ms"])
    figures["renewals meanwhile, p99 ms"].append(renewals["p99_ms"])
    figures["all of it, % of a core"].append(measured["cpu_seconds"] / renewals["seconds"] * 100)


def _names(port: int, size: _Size, figures: dict[str, list[float]], folder: Path) -> None:
    measured = asked_names(port, SERVICES, ASKED_PER_SECOND, size.seconds)
    figures["names, unanswered"].append(measured["asked"] - measured["answered"])
    figures["names, addresses each"].append(measured["records"])
    figures["names, p50 ms"].append(measured["p50_ms"])
    figures["names, p99 ms"].append(measured["p99_ms"])
    figures["most names, /s"].append(
        most_names(port, SERVICES, max(1, int(size.seconds / 2)), folder)
    )


def _reads(ours: MoretonServed, size: _Size, figures: dict[str, list[float]]) -> None:
    """By Consul's API, of services with their instances and checks; no Consul is to be had."""
    measured = consul_reads(ours, SERVICES, ASKED_PER_SECOND, size.seconds)
    figures["Consul reads, unanswered"].append(measured["asked"] - measured["answered"])
    figures["Consul reads, p50 ms"].append(measured["p50_ms"])
    figures["Consul reads, p99 ms"].append(measured["p99_ms"])
    figures["Consul reads, first of a service, ms"].append(measured["first_ms"])
    most = consul_reads(ours, SERVICES, 0, size.seconds / 2)
    figures["most Consul reads, /s"].append(most["per_second"])
