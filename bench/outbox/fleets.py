"""Servers and programs of one run, each with databases of its own; ours, or the peer's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from bench.outbox import floor, nats_outbox
from bench.outbox.pacing import command, prepare
from bench.outbox.processor import seconds_of_server
from bench.outbox.schema import BANK, ORDERS, OUTBOX
from bench.outbox.servers import Nats, Program

STALL_SECONDS_MAX = 40
_COMMITTED = "extract(epoch FROM pg_xact_commit_timestamp(xmin))::double precision"


class Fleet:
    """Servers and programs of one run, each with databases of its own."""

    def __init__(self, url: str, parent: Path, name: str) -> None:
        folder = parent / name
        folder.mkdir()
        self.nats = nats = Nats(folder)
        self._server = url.format("postgres")
        self._orders, self._bank = f"{name}_orders", f"{name}_bank"
        with psycopg.connect(self._server, autocommit=True) as db:
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
        self.relay = Program([sys.executable, *relay], log)
        bank = [sys.executable, "-m", "bench.outbox.bank", self.bank, nats.url]
        self.bank_program = Program(bank, log)
        self.shop_module = ["-m", "bench.outbox.shop"]
        self._log = log
        self.written = 0

    def cpu_seconds(self) -> dict[str, float]:
        """What each has needed of the processor so far; PostgreSQL for the shop, too."""
        return {
            "relay": self.relay.cpu_seconds(),
            "bank": self.bank_program.cpu_seconds(),
            "NATS": self.nats.cpu_seconds(),
            "PostgreSQL": seconds_of_server(self.orders),
        }

    def prepare(self) -> None:
        """Make what relay and consumer do not make themselves."""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        self.nats.start()
        self.prepare()
        self.relay.start()
        self.bank_program.start()
        try:
            yield
        finally:
            self.relay.stop()
            self.bank_program.stop()
            self.nats.kill()

    def drop(self) -> None:
        """Leave nothing that the server would clean while others are measured."""
        with psycopg.connect(self._server, autocommit=True) as db:
            for database in (self._orders, self._bank):
                db.execute(f"DROP DATABASE {database} WITH (FORCE)".encode())

    def shop(self, count: int, *, group: int, rate: float = 0) -> Program:
        words = [self.orders, str(self.written), str(count), str(group), str(rate)]
        program = Program([sys.executable, *self.shop_module, *words], self._log)
        program.start()
        self.written += count
        return program

    def pace(self, count: int, *, rate: float) -> None:
        """Write *count* orders, one event to a transaction, and return when the last is written."""
        first = self.written
        prepare(self.orders, range(first, first + count))
        script = self._log.with_name("pgbench.sql")
        program = Program(command(self.orders, first, count, rate=rate, script=script), self._log)
        program.start()
        if program.wait() != 0:
            raise RuntimeError(f"pgbench failed:\n{self._log.read_text()[-2000:]}")
        self.written += count

    def wait_paid(self) -> None:
        """Return when every order is paid; an error when nothing moves any more."""
        last, since = -1, time.monotonic()
        with psycopg.connect(self.bank, autocommit=True) as db:
            while last < self.written:
                (paid,) = db.execute("SELECT count(*) FROM payments").fetchone() or (0,)
                if paid > last:
                    last, since = paid, time.monotonic()
                if time.monotonic() - since > STALL_SECONDS_MAX:
                    tail = self._log.read_text()[-2000:]
                    raise RuntimeError(f"{paid} of {self.written} orders are paid:\n{tail}")
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
        return self.written - distinct, total - distinct


class PeerFleet(Fleet):
    """The same with nats-outbox."""

    def __init__(self, url: str, parent: Path, name: str) -> None:
        super().__init__(url, parent, name)
        settings = {
            "OUTBOX_DATABASE_URL": nats_outbox.dsn(self.orders),
            "OUTBOX_NATS_URL": self.nats.url,
            "OUTBOX_BATCH_SIZE": "500",
            "OUTBOX_POLLING_INTERVAL": "0.02",  # as ours
        }
        os.environ.update(settings)
        relay = ["-m", "nats_outbox.cli", "relay", "start", "--log-level", "WARNING"]
        self.relay = Program([sys.executable, *relay], self._log)
        module = ["-m", "bench.outbox.nats_outbox"]
        bank = [sys.executable, *module, "bank", self.bank, self.nats.url]
        self.bank_program = Program(bank, self._log)
        self.shop_module = [*module, "shop"]

    def prepare(self) -> None:
        asyncio.run(nats_outbox.prepare(self.orders, self.bank, self.nats.url))


class FloorFleet(Fleet):
    """The same by hand, with nothing that an outbox and an inbox are for."""

    def __init__(self, url: str, parent: Path, name: str) -> None:
        super().__init__(url, parent, name)
        module = [sys.executable, "-m", "bench.outbox.floor"]
        self.relay = Program([*module, "relay", self.orders, self.nats.url], self._log)
        self.bank_program = Program([*module, "bank", self.bank, self.nats.url], self._log)

    def prepare(self) -> None:
        asyncio.run(floor.prepare(self.nats.url))
