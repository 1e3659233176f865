"""Events from the commit of who tells them to the commit of who handled them.

PostgreSQL and NATS JetStream, both with every write on disk; shop, relay and bank are processes of
their own. Each order is a row and an event in one transaction, of the shop's database; the bank
makes it a row of its own. PostgreSQL says when each row was committed: latency and throughput are
the differences of those times, by one clock, and nobody who is measured takes part in measuring.

Three runs: as fast as it goes; at 2,000 a second, one event to a transaction; and one in which
relay and NATS are killed at random, after which each order has to be paid once.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
from rich.console import Console

from bench.outbox.schema import BANK, ORDERS, OUTBOX
from bench.outbox.servers import Nats, Program, postgres
from bench.report import Result, median, percentile

THROUGHPUT_MIN, RATE, P99_MS_MAX = 10_000, 2000, 20.0
STALL_SECONDS_MAX = 40
_GROUP = 50
_COMMITTED = "extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision"


@dataclass(frozen=True, slots=True)
class Size:
    fast: int
    paced: int
    killed: int
    kill_every: float


FULL = Size(200_000, 40_000, 1_000_000, 5.0)
QUICK = Size(30_000, 10_000, 40_000, 1.0)


class Fleet:
    """Servers and programs of one run, each with databases of its own."""

    def __init__(self, url: str, parent: Path, name: str) -> None:
        folder = parent / name
        folder.mkdir()
        self.nats = nats = Nats(folder)
        self._orders, self._bank = f"{name}_orders", f"{name}_bank"
        with psycopg.connect(url.format("postgres"), autocommit=True) as db:
            for database in (self._orders, self._bank):
                db.execute(f"CREATE DATABASE {database}".encode())
        self.orders, self.bank = url.format(self._orders), url.format(self._bank)
        with psycopg.connect(self.orders) as db:
            db.execute(ORDERS)
            OUTBOX.install(db)
        with psycopg.connect(self.bank) as db:
            db.execute(BANK)
        relay = ["-m", "moreton.cli.main", "outbox", "relay", "orders"]
        relay += ["--database", self.orders, "--broker", nats.url]
        log = folder / "log"
        self.relay = Program(relay, log)
        self.bank_program = Program(["-m", "bench.outbox.bank", self.bank, nats.url], log)
        self._log = log
        self._written = 0

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.nats.start()
        self.relay.start()
        self.bank_program.start()
        try:
            yield
        finally:
            self.relay.stop()
            self.bank_program.stop()
            self.nats.kill()

    def shop(self, count: int, *, group: int, rate: float = 0) -> Program:
        words = [self.orders, str(self._written), str(count), str(group), str(rate)]
        program = Program(["-m", "bench.outbox.shop", *words], self._log)
        program.start()
        self._written += count
        return program

    def wait_paid(self) -> None:
        """Return when every order is paid; an error when nothing moves any more."""
        last, since = -1, time.monotonic()
        with psycopg.connect(self.bank, autocommit=True) as db:
            while last < self._written:
                (paid,) = db.execute("SELECT count(*) FROM payments").fetchone() or (0,)
                if paid > last:
                    last, since = paid, time.monotonic()
                if time.monotonic() - since > STALL_SECONDS_MAX:
                    tail = self._log.read_text()[-2000:]
                    raise RuntimeError(f"{paid} of {self._written} orders are paid:\n{tail}")
                time.sleep(0.2)

    def times(self, first: int, table: str) -> dict[int, float]:
        """When each order from *first* on was committed, in seconds."""
        where = self.orders if table == "orders" else self.bank
        with psycopg.connect(where) as db:
            rows = db.execute(
                # Names and numbers of our own.
                f"SELECT n, {_COMMITTED} FROM {table} WHERE n >= {first}".encode()  # noqa: S608
            )
            return dict(rows.fetchall())

    def counts(self) -> tuple[int, int]:
        """Orders that were lost, and payments that were made more than once."""
        with psycopg.connect(self.bank) as db:
            found = db.execute("SELECT count(*), count(DISTINCT n) FROM payments").fetchone()
        assert found is not None
        total, distinct = found
        return self._written - distinct, total - distinct


def run(*, quick: bool, console: Console) -> Result:
    size = QUICK if quick else FULL
    ours: dict[str, float | int | str] = {}
    result = Result("outbox", "events/s, ms from commit to commit", ours)
    with tempfile.TemporaryDirectory() as folder, postgres() as url:
        fleet = Fleet(url, Path(folder), "calm")
        with fleet.running():
            _fast(fleet, size, ours, console)
            _paced(fleet, size, ours, console)
        fleet = Fleet(url, Path(folder), "killed")
        lost, twice, kills = _killed(fleet, size, ours, console)
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


def _fast(fleet: Fleet, size: Size, ours: dict[str, float | int | str], console: Console) -> None:
    fleet.shop(2000, group=_GROUP).wait()  # warm
    fleet.wait_paid()
    before = fleet.relay.cpu_seconds(), fleet.bank_program.cpu_seconds()
    fleet.shop(size.fast, group=_GROUP)
    fleet.wait_paid()
    written, paid = fleet.times(2000, "orders"), fleet.times(2000, "payments")
    seconds = max(paid.values()) - min(written.values())
    ours["events/s"] = size.fast / seconds
    ours["relay us/event"] = (fleet.relay.cpu_seconds() - before[0]) / size.fast * 1e6
    ours["bank us/event"] = (fleet.bank_program.cpu_seconds() - before[1]) / size.fast * 1e6
    console.print(f"as fast as it goes: {ours['events/s']:,.0f} events/s")


def _paced(fleet: Fleet, size: Size, ours: dict[str, float | int | str], console: Console) -> None:
    first = 2000 + size.fast
    fleet.shop(size.paced, group=1, rate=RATE)
    fleet.wait_paid()
    written, paid = fleet.times(first, "orders"), fleet.times(first, "payments")
    # The first second is the shop's own start.
    waits = [1000 * (paid[n] - at) for n, at in written.items() if n >= first + RATE]
    span = max(written.values()) - min(written.values())
    ours["written/s when paced"] = size.paced / span
    for share in (0.5, 0.9, 0.99):
        ours[f"p{share * 100:.0f} ms"] = percentile(waits, share)
    ours["max ms"] = max(waits)
    console.print(f"at {RATE:,}/s: p50 {ours['p50 ms']:.1f} ms, p99 {ours['p99 ms']:.1f} ms")


def _killed(
    fleet: Fleet, size: Size, ours: dict[str, float | int | str], console: Console
) -> tuple[int, int, tuple[int, int]]:
    rng = random.Random(7)
    kills = {"relay": 0, "nats": 0}
    victims: dict[str, Program | Nats] = {"relay": fleet.relay, "nats": fleet.nats}
    with fleet.running():
        shopping = fleet.shop(size.killed, group=_GROUP, rate=5000)
        until = time.monotonic() + size.killed / 5000
        while time.monotonic() < until:
            time.sleep(rng.uniform(0.5, 1.5) * size.kill_every)
            name = "relay" if sum(kills.values()) % 2 else "nats"
            victims[name].kill()
            kills[name] += 1
            time.sleep(rng.uniform(0, 0.3))
            victims[name].start()
        shopping.wait()
        fleet.wait_paid()
    lost, twice = fleet.counts()
    ours["events in the run with kills"] = size.killed
    ours["relay killed"], ours["NATS killed"] = kills["relay"], kills["nats"]
    ours["lost"], ours["handled twice"] = lost, twice
    console.print(f"{size.killed:,} events, {kills}: {lost} lost, {twice} handled twice")
    return lost, twice, (kills["relay"], kills["nats"])
