"""Three nodes that agree, with fsync, on one machine: ours, PySyncObj and etcd.

Every system is asked by the same client in the same words, those of etcd's JSON gateway, at its
leader; the systems take turns, so that what the machine does meanwhile meets all of them alike.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from bench.consensus.failover import failover
from bench.consensus.systems import NODES, Cluster, EtcdCluster, MoretonCluster, PySyncObjCluster
from bench.report import Result, median

_CLIENTS = (1, 64, 512)
_OPERATIONS = ("put", "get")
_PYSYNCOBJ_RATIO_MIN = 5.0
_ETCD_RATIO_MIN = 0.5
_FAILOVER_SECONDS_MAX = 1.0

_UNBATCHED, _SYNCED = "pysyncobj, unbatched", "pysyncobj, unbatched, synced"

# system -> what was measured -> the figure of each round
Rounds = dict[str, dict[str, list[float]]]


def run(*, quick: bool, console: Console) -> Result:
    """Writes and linearizable reads at 1, 64 and 512 clients; then kill leaders."""
    with tempfile.TemporaryDirectory(prefix="moreton-bench-") as folder:
        clusters = list(_clusters(Path(folder), quick=quick))
        try:
            for cluster in clusters:
                cluster.start(*NODES)
            found = _measured(clusters, quick=quick, console=console)
        finally:
            for cluster in clusters:
                cluster.stop()
    figures = {name: _medians(rounds) for name, rounds in found.items()}
    ours = figures.pop("moreton")
    ratio = _ratios(ours, figures)
    return Result(
        "consensus",
        "committed writes/s",
        ours,
        dict(figures),
        ratio,
        _checks(ours, figures, ratio),
        [*_spreads(found), *_NOTES],
    )


def _clusters(folder: Path, *, quick: bool) -> Iterator[Cluster]:
    yield MoretonCluster(folder / "moreton")
    yield PySyncObjCluster(folder / "pysyncobj")
    yield EtcdCluster(folder / "etcd")
    if not quick:
        for name in (_UNBATCHED, _SYNCED):
            options = tuple(name.split(", ")[1:])
            yield PySyncObjCluster(folder / name, name=name, options=options)


def _measured(clusters: Sequence[Cluster], *, quick: bool, console: Console) -> Rounds:
    found: Rounds = defaultdict(lambda: defaultdict(list))
    rounds, seconds, kills = (1, 0.6, 1) if quick else (3, 2.0, 7)
    for number in range(rounds):
        for operation in _OPERATIONS:
            for clients in _CLIENTS:
                for cluster in clusters:
                    _load(cluster, operation, clients, seconds, found[cluster.name])
        console.print(f"load, round {number + 1} of {rounds}", highlight=False)
    for number in range(kills):
        for cluster in clusters:
            _kill(cluster, found[cluster.name], console)
        console.print(f"leader killed, {number + 1} of {kills}", highlight=False)
    return found


def _kill(cluster: Cluster, found: dict[str, list[float]], console: Console) -> None:
    if "," in cluster.name:
        return  # a peer's other settings
    try:
        found["fail-over, s"].append(failover(cluster))
    except RuntimeError as error:
        if cluster.name == "moreton":
            raise
        # It has happened to PySyncObj: a journal that no node could go on with.
        console.print(f"{cluster.name} did not come back: {str(error)[-500:]}", highlight=False)
        cluster.stop()
        shutil.rmtree(cluster.folder)
        cluster.start(*NODES)


def _load(
    cluster: Cluster, operation: str, clients: int, seconds: float, found: dict[str, list[float]]
) -> None:
    port = cluster.ports[cluster.wait_leader(*NODES) - 1]
    command = [sys.executable, "-m", "bench.consensus.load", str(port), str(clients)]
    done = subprocess.run(
        [*command, str(seconds), operation], capture_output=True, text=True, check=True
    )
    measured = json.loads(done.stdout)
    if measured["failed"]:
        raise RuntimeError(f"{cluster.name}: {measured['failed']} requests failed")
    label = f"{operation} by {clients}"
    found[f"{label}, /s"].append(measured["per_second"])
    found[f"{label}, p50 ms"].append(measured["p50_ms"])
    found[f"{label}, p99 ms"].append(measured["p99_ms"])


def _medians(rounds: Mapping[str, list[float]]) -> dict[str, float]:
    return {name: round(median(values), 3) for name, values in rounds.items()}


def _spreads(found: Rounds) -> list[str]:
    return [
        f"{system}, put by {clients}: {min(values):,.0f} to {max(values):,.0f} /s"
        for clients in _CLIENTS
        for system, rounds in found.items()
        if (values := rounds[f"put by {clients}, /s"])
    ]


def _ratios(
    ours: Mapping[str, float], figures: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    ratio = {}
    for peer, theirs in figures.items():
        for operation in _OPERATIONS:
            for clients in _CLIENTS:
                label = f"{operation} by {clients}"
                ratio[f"{peer}, {label}"] = ours[f"{label}, /s"] / theirs[f"{label}, /s"]
        if "fail-over, s" in theirs:
            ratio[f"{peer}, fail-over"] = theirs["fail-over, s"] / ours["fail-over, s"]
    return ratio


def _checks(
    ours: Mapping[str, float],
    figures: Mapping[str, Mapping[str, float]],
    ratio: Mapping[str, float],
) -> dict[str, bool]:
    bounds = {"pysyncobj": _PYSYNCOBJ_RATIO_MIN, _SYNCED: _PYSYNCOBJ_RATIO_MIN}
    bounds["etcd"] = _ETCD_RATIO_MIN
    checks = {
        f"{bounds[peer]:g} times the writes of {peer}, by 64": ratio[f"{peer}, put by 64"]
        >= bounds[peer]
        for peer in bounds
        if peer in figures
    }
    seconds, theirs = ours["fail-over, s"], figures["etcd"]["fail-over, s"]
    checks[f"fail-over in {_FAILOVER_SECONDS_MAX:g} s"] = seconds <= _FAILOVER_SECONDS_MAX
    checks["fail-over no slower than etcd's"] = seconds <= theirs
    return checks


_NOTES = (
    "PySyncObj never syncs its journal: its writes survive the end of a process, not of a machine",
    "PySyncObj has no linearizable read: its reads go through its log",
    "by default it sends every 100 ms, whatever the machine: 64 clients get 640 writes/s at most",
    "all have the defaults of their settings; PySyncObj is given a journal and a dump file",
    "unbatched: PySyncObj sends at once, not every 100 ms; synced: and its journal is synced by us",
)
