"""What the measurements add up to."""

from __future__ import annotations

from collections.abc import Mapping

from bench.report import Result, median

OURS = "moreton"
JSON, GRPC = "etcd, JSON", "etcd, gRPC"
DNSMASQ = "dnsmasq"

CPU_PERCENT_MAX = 25.0
NOTICE_MS_MAX = 50.0
RESIDENT_MIB_MAX = 200.0
NAME_MS_MAX = 5.0
READ_MS_MAX = 5.0
Rounds = dict[str, dict[str, list[float]]]

_NOTES = (
    "etcd is Debian's 3.4: over its JSON gateway a connection for each instance, as with ours",
    "etcd over gRPC: all leases on one stream, which is what its own client does",
    "a renewal is the whole request of one SDK, answered; by 500: POST /v1/leases/renew",
    "CPU is that of the server's process alone; everything is on this one machine",
    "a notice is timed from the sending of the change, which a disk has to take first",
)
# What a ratio compares, and whether more is better.
_RATIOS = {
    "renewals, CPU µs each": False,
    "most renewals, /s": True,
    "notice, p99 ms": False,
    "names, p99 ms": False,
    "most names, /s": True,
}


def result(found: Rounds, *, instances: int) -> Result:
    """Medians of the rounds, ratios, and what must hold."""
    figures = {name: _medians(rounds) for name, rounds in found.items()}
    ours = figures.pop(OURS)
    return Result(
        "registry",
        f"{instances:,} instances",
        ours,
        dict(figures),
        _ratios(ours, figures),
        _checks(found[OURS], ours),
        [*_NOTES, *_spreads(found)],
    )


def _medians(rounds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: round(median(values), 3) for name, values in rounds.items()}


def _ratios(
    ours: Mapping[str, float], figures: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    ratio = {}
    for peer, theirs in figures.items():
        for what, more_is_better in _RATIOS.items():
            if what in theirs and theirs[what] and ours[what]:
                share = ours[what] / theirs[what]
                ratio[f"{peer}, {what}"] = share if more_is_better else 1 / share
    # One request for many, beside one stream for many.
    together = ours["renewals by 500, CPU µs each"]
    ratio[f"{GRPC}, renewals together, CPU µs each"] = (
        figures[GRPC]["renewals, CPU µs each"] / together
    )
    return ratio


def _checks(rounds: Mapping[str, list[float]], ours: Mapping[str, float]) -> dict[str, bool]:
    return {
        f"10,000 instances that renew every 5 s use <= {CPU_PERCENT_MAX:g} % of one core": (
            ours["renewals, % of a core"] <= CPU_PERCENT_MAX
        ),
        "renewals write nothing to the store": not any(rounds["writes to the store"]),
        "every renewal and every change succeeds": not any(
            (*rounds["failed renewals"], *rounds["failed changes"])
        ),
        f"p99 of a notice <= {NOTICE_MS_MAX:g} ms": ours["notice, p99 ms"] <= NOTICE_MS_MAX,
        "every watcher is told of every change of its service": not any(rounds["notices missed"]),
        "no watcher is woken for another service": not any(rounds["notices for others"]),
        f"everything resident in <= {RESIDENT_MIB_MAX:g} MiB": (
            ours["resident MiB"] <= RESIDENT_MIB_MAX
        ),
        f"p99 of a name at 2,000/s <= {NAME_MS_MAX:g} ms": ours["names, p99 ms"] <= NAME_MS_MAX,
        "every name is answered": not any(rounds["names, unanswered"]),
        f"p99 of a Consul read at 2,000/s <= {READ_MS_MAX:g} ms": (
            ours["Consul reads, p99 ms"] <= READ_MS_MAX
        ),
        "every Consul read is answered": not any(rounds["Consul reads, unanswered"]),
    }


def _spreads(found: Rounds) -> list[str]:
    return [
        f"{system}, {what}: {min(values):,.1f} to {max(values):,.1f}"
        for what in ("renewals, % of a core", "notice, p99 ms", "names, p99 ms")
        for system, rounds in found.items()
        if (values := rounds.get(what))
    ]
