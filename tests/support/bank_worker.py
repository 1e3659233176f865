"""Transfers between two banks, each in a process that may die: `bank_worker.py`.

Reads one JSON command a line, forks a process for it, and prints how that ended: its exit status,
or minus the signal. A command has the URLs of the log and of the two banks.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from moreton.kernel.time import Instant, SystemClock
from moreton.transactions import failpoints
from moreton.transactions.barrier import Act, Call, create_table, enter
from moreton.transactions.idempotency import (
    Interrupted,
    KeyPolicy,
    idempotent_call,
    keep_at,
)
from moreton.transactions.idempotency.servers.wsgi import IdempotencyMiddleware
from moreton.transactions.tcc import Coordinator, Refused, open_log
from moreton.transactions.twophase import (
    Aborted,
    Participant,
    PostgresParticipant,
    Resolver,
    SqliteParticipant,
    TwoPhase,
    open_decisions,
)

COMMITTED, ABORTED = 0, 3
BANKS = ("giver", "taker")
CENTS = 5
_TABLE = "CREATE TABLE account (id INTEGER PRIMARY KEY, cents BIGINT, held BIGINT, incoming BIGINT)"


class LaterClock:
    """The machine's clock, *minutes* later: what is restarted has been away."""

    def __init__(self, minutes: int) -> None:
        self._minutes = timedelta(minutes=minutes)

    def now(self) -> Instant:
        return SystemClock().now()

    def wall(self) -> datetime:
        return datetime.now(UTC) + self._minutes


def connect(url: str) -> Any:
    if url.startswith("sqlite:///"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=20)
    return psycopg.connect(url)


def found_bank(url: str, cents: int) -> None:
    """An empty database becomes a bank with one account."""
    connection = connect(url)
    create_table(connection)
    connection.execute(_TABLE)
    connection.execute(f"INSERT INTO account VALUES (1, {cents}, 0, 0)")  # noqa: S608 - ours
    connection.commit()
    connection.close()


def balance(url: str) -> tuple[int, int, int]:
    """Cents that are there, held, and coming."""
    connection = connect(url)
    found = connection.execute("SELECT cents, held, incoming FROM account").fetchone()
    connection.close()
    return found[0], found[1], found[2]


_CHANGES = {
    ("giver", Act.DO): f"cents = cents - {CENTS}, held = held + {CENTS}",
    ("giver", Act.CONFIRM): f"held = held - {CENTS}",
    ("giver", Act.UNDO): f"cents = cents + {CENTS}, held = held - {CENTS}",
    ("taker", Act.DO): f"incoming = incoming + {CENTS}",
    ("taker", Act.CONFIRM): f"cents = cents + {CENTS}, incoming = incoming - {CENTS}",
    ("taker", Act.UNDO): f"incoming = incoming - {CENTS}",
}


def bank(url: str) -> Callable[[Call], None]:
    """A TCC participant that keeps its account in the database at *url*."""

    def act(call: Call) -> None:
        connection = connect(url)
        try:
            passage = enter(connection, call)
            if passage:
                change = _CHANGES[call.branch, call.act]
                connection.execute(f"UPDATE account SET {change}")  # noqa: S608 - our own
            if passage and call.payload.get("refuse") == call.branch:
                raise Refused("no")
            connection.commit()
        finally:
            connection.close()

    return act


def transfer_by_tcc(urls: list[str], command: dict[str, Any]) -> int:
    banks = {name: bank(url) for name, url in zip(BANKS, urls[1:], strict=True)}
    coordinator = Coordinator(open_log(urls[0]), banks)
    payload = {"refuse": command.get("refuse", "")}
    return COMMITTED if coordinator.run(dict.fromkeys(BANKS, payload)) else ABORTED


def recover_by_tcc(urls: list[str], command: dict[str, Any]) -> int:
    banks = {name: bank(url) for name, url in zip(BANKS, urls[1:], strict=True)}
    clock = LaterClock(command.get("later", 1))
    log = open_log(urls[0], clock=clock)
    Coordinator(log, banks, clock=clock).recover()
    return len(log.unfinished())


def participants(urls: list[str]) -> list[Participant]:
    return [
        SqliteParticipant(name, url.removeprefix("sqlite:///"))
        if url.startswith("sqlite:///")
        else PostgresParticipant(name, url)
        for name, url in zip(BANKS, urls[1:], strict=True)
    ]


def transfer_by_two_phases(urls: list[str], command: dict[str, Any]) -> int:
    two_phase = TwoPhase(open_decisions(urls[0]), *participants(urls))
    try:
        with two_phase.begin() as work:
            work["giver"].execute(f"UPDATE account SET cents = cents - {CENTS}")  # noqa: S608
            if not command.get("alone"):
                work["taker"].execute(f"UPDATE account SET cents = cents + {CENTS}")  # noqa: S608
    except Aborted:
        return ABORTED
    return COMMITTED


def recover_by_two_phases(urls: list[str], _: dict[str, Any]) -> int:
    log = open_decisions(urls[0])
    everybody = participants(urls)
    Resolver(log, *everybody, grace=timedelta(0)).resolve()
    return len(Resolver(log, *everybody).look().waiting)


def pay_once(urls: list[str], command: dict[str, Any]) -> int:
    """An HTTP request with a key, whose handler pays behind its barrier."""
    keeper = keep_at(urls[0])
    policy = KeyPolicy(keeper, interrupted=Interrupted.RERUN, lease=timedelta(milliseconds=1))

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        connection = connect(urls[1])
        call = idempotent_call(environ)
        assert call is not None
        if enter(connection, call):
            connection.execute(f"UPDATE account SET cents = cents - {CENTS}")  # noqa: S608 - ours
        connection.commit()
        connection.close()
        start_response("200 OK", [])
        return [b"paid"]

    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/pay",
        "HTTP_IDEMPOTENCY_KEY": command["key"],
    }

    def start(status: str, _: list[tuple[str, str]]) -> Any:
        statuses.append(status)

    served = IdempotencyMiddleware(application, policy)(environ, start)
    assert b"".join(served) == b"paid"
    return COMMITTED if statuses == ["200 OK"] else ABORTED


_COMMANDS = {
    "idempotency": (pay_once, pay_once),
    "tcc": (transfer_by_tcc, recover_by_tcc),
    "twophase": (transfer_by_two_phases, recover_by_two_phases),
}


def perform(command: dict[str, Any]) -> int:
    name = command.get("failpoint")
    if name:
        failpoints._KNOWN[name]._left = command.get("nth", 1)
    transfer, recover = _COMMANDS[command["kind"]]
    return (recover if command.get("recover") else transfer)(command["urls"], command)


def main() -> None:
    print(json.dumps(failpoints.failpoints()), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            status = 70
            try:
                status = perform(command)
            finally:
                sys.stderr.flush()
                os._exit(status)
        _, ended = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(ended), flush=True)


if __name__ == "__main__":
    main()
