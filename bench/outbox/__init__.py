"""Events from the commit of who tells them to the commit of who handled them.

PostgreSQL and NATS JetStream, both with every write on disk; shop, relay and bank are processes of
their own. Each order is a row and an event in one transaction, of the shop's database; the bank
makes it a row of its own. PostgreSQL says when each row was committed: latency and throughput are
the differences of those times, by one clock, and nobody who is measured takes part in measuring.

Three runs: as fast as it goes; at 2,000 a second, one event to a transaction; and one in which
relay and NATS are killed at random, after which each order has to be paid once. The second is run
in turns with a *floor*: the same by hand, without anything that an outbox is for: no lease, fence,
inbox or order after a crash; what it commits and sends waits for the disk as ours does. What the
machine does to all is in both. Figures are the medians of the turns; beside them is what each
process needed of the processor, PostgreSQL for the shop, too, which is the same in both.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench.outbox.fleets import Fleet, FloorFleet, PeerFleet
from bench.outbox.servers import Nats, Program, postgres, settle
from bench.outbox.stages import stamps
from bench.report import Result, median, percentile

THROUGHPUT_MIN, RATE, P99_MS_MAX = 10_000, 2000, 20.0
WARM = 500
_GROUP = 50
_TELL_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Size:
    fast: int
    paced: int
    killed: int
    kill_every: float
    turns: int
    paced_turns: int


FULL = Size(200_000, 20_000, 1_000_000, 5.0, 3, 5)
QUICK = Size(30_000, 4_000, 30_000, 1.0, 1, 3)
PEER, FLOOR = "nats-outbox", "floor"
# It has as many times fewer events to do, as it is slower.
PEER_SHARE = 20


def run(*, quick: bool, console: Console) -> Result:
    size = QUICK if quick else FULL
    ours: dict[str, float | int | str] = {}
    theirs: dict[str, float | int | str] = {}
    result = Result("outbox", "events/s, ms from commit to commit", ours)
    with tempfile.TemporaryDirectory() as folder, postgres() as url:
        rates: dict[str, list[float]] = {"moreton": [], PEER: []}
        for turn in range(size.turns):
            fleet = Fleet(url, Path(folder), f"calm_{turn}")
            settle(url)
            with fleet.running():
                rates["moreton"].append(_fast(fleet, size.fast, ours))
            fleet.drop()
            peer = PeerFleet(url, Path(folder), f"peer_{turn}")
            with peer.running():
                rates[PEER].append(_fast(peer, size.fast // PEER_SHARE, theirs))
            peer.drop()
        for name, figures in (("moreton", ours), (PEER, theirs)):
            figures["events/s"] = median(rates[name])
            console.print(f"{name}: {figures['events/s']:,.0f} events/s as fast as it goes")
        settle(url)
        floor = _paced_turns(url, Path(folder), size, ours, console)
        fleet = Fleet(url, Path(folder), "killed")
        lost, twice, kills = _killed(fleet, size, ours, console)
    result.peers |= {PEER: theirs, FLOOR: floor}
    result.ratio[f"{FLOOR}, p99"] = float(floor["p99 ms"]) / float(ours["p99 ms"])
    result.ratio[PEER] = float(ours["events/s"]) / float(theirs["events/s"])
    result.notes.append(f"a write to this disk, waited for, takes {_disk_ms():.2f} ms (median)")
    result.checks[f"{THROUGHPUT_MIN:,} events/s from commit to consumed"] = (
        float(ours["events/s"]) >= THROUGHPUT_MIN
    )
    result.checks[f"p99 is at most {P99_MS_MAX:.0f} ms at {RATE:,}/s"] = (
        float(ours["p99 ms"]) <= P99_MS_MAX
    )
    result.checks["nothing is lost when relay and NATS are killed"] = lost == 0 and min(kills) > 0
    result.checks["nothing is handled twice when they are killed"] = twice == 0
    return result


def _disk_ms() -> float:
    """What each commit and each message wait for once at least."""
    waits = []
    with tempfile.TemporaryFile() as file:
        for _ in range(100):
            file.write(b"x" * 4096)
            file.flush()
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            waits.append(1000 * (time.perf_counter() - start))
    return median(waits)


def _fast(fleet: Fleet, count: int, figures: dict[str, float | int | str]) -> float:
    """Events a second, from the first commit of the shop to the last one of the bank."""
    fleet.shop(WARM, group=_GROUP).wait()
    fleet.wait_paid()
    before = fleet.relay.cpu_seconds(), fleet.bank_program.cpu_seconds()
    fleet.shop(count, group=_GROUP).wait()
    fleet.wait_paid()
    written, paid = fleet.times(WARM, "orders"), fleet.times(WARM, "payments")
    figures["relay us/event"] = (fleet.relay.cpu_seconds() - before[0]) / count * 1e6
    figures["bank us/event"] = (fleet.bank_program.cpu_seconds() - before[1]) / count * 1e6
    return count / (max(paid.values()) - min(written.values()))


def _paced_turns(
    url: str, folder: Path, size: Size, ours: dict[str, float | int | str], console: Console
) -> dict[str, float | int | str]:
    """Fill in *ours*; what the floor needed."""
    with contextlib.ExitStack() as stack:
        fleet, floor = Fleet(url, folder, "paced"), FloorFleet(url, folder, "floor")
        for each in (fleet, floor):
            stack.enter_context(each.running())
            each.shop(WARM, group=_GROUP).wait()
            each.wait_paid()
        turns: dict[str, list[dict[str, float]]] = {"moreton": [], FLOOR: []}
        for _ in range(size.paced_turns):
            # A relay looks for events all the time, the floor's every 2 ms.
            with floor.relay.resting():
                turns["moreton"].append(_paced(fleet, size.paced))
            with fleet.relay.resting():
                turns[FLOOR].append(_paced(floor, size.paced))
        found = stamps(fleet, WARM)
    for name, times in found.stages(WARM).items():
        ours[f"{name}, p50 ms"] = percentile(times, 0.5)
        ours[f"{name}, p99 ms"] = percentile(times, 0.99)
    theirs: dict[str, float | int | str] = {}
    for name, figures in (("moreton", ours), (FLOOR, theirs)):
        for figure in turns[name][0]:
            figures[figure] = median([turn[figure] for turn in turns[name]])
        p99s = ", ".join(f"{turn['p99 ms']:.1f}" for turn in turns[name])
        said = f"p50 {figures['p50 ms']:.1f} ms, p99 {figures['p99 ms']:.1f} ms (turns: {p99s})"
        console.print(f"{name} at {RATE:,}/s: {said}", highlight=False)
    return theirs


def _paced(fleet: Fleet, count: int) -> dict[str, float]:
    """One turn: what its orders needed, from the second second on."""
    first = fleet.written
    before = fleet.cpu_seconds()
    # Counting the rows meanwhile would take part.
    fleet.pace(count, rate=RATE)
    after = fleet.cpu_seconds()
    fleet.wait_paid()
    written, paid = fleet.times(first, "orders"), fleet.times(first, "payments")
    waits = [1000 * (paid[n] - at) for n, at in written.items() if n >= first + RATE]
    figures = {f"p{share * 100:.0f} ms": percentile(waits, share) for share in (0.5, 0.9, 0.99)}
    figures["max ms"] = max(waits)
    for name, seconds in after.items():
        figures[f"{name} us/event when paced"] = (seconds - before[name]) / count * 1e6
    figures["written/s when paced"] = count / (max(written.values()) - min(written.values()))
    return figures


def _killed(
    fleet: Fleet, size: Size, ours: dict[str, float | int | str], console: Console
) -> tuple[int, int, tuple[int, int]]:
    rng = random.Random(7)
    kills = {"relay": 0, "nats": 0}
    victims: dict[str, Program | Nats] = {"relay": fleet.relay, "nats": fleet.nats}
    with fleet.running():
        shopping = fleet.shop(size.killed, group=_GROUP, rate=5000)
        until = time.monotonic() + size.killed / 5000
        tell_at = time.monotonic() + _TELL_SECONDS
        while time.monotonic() < until:
            time.sleep(rng.uniform(0.5, 1.5) * size.kill_every)
            name = "relay" if sum(kills.values()) % 2 else "nats"
            victims[name].kill()
            kills[name] += 1
            time.sleep(rng.uniform(0, 0.3))
            victims[name].start()
            if time.monotonic() >= tell_at:
                tell_at += _TELL_SECONDS
                said = f"{max(0, until - time.monotonic()):.0f} s to go, killed so far: {kills}"
                console.print(said, highlight=False)
        shopping.wait()
        fleet.wait_paid()
    lost, twice = fleet.counts()
    ours["events in the run with kills"] = size.killed
    ours["relay killed"], ours["NATS killed"] = kills["relay"], kills["nats"]
    ours["lost"], ours["handled twice"] = lost, twice
    console.print(f"{size.killed:,} events, {kills}: {lost} lost, {twice} handled twice")
    return lost, twice, (kills["relay"], kills["nats"])
