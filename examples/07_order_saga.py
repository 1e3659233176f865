"""An order over three services, each with its own database; the orchestrator is killed midway."""

import json
import os
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from moreton.transactions.barrier import Act, Call, create_table, enter
from moreton.transactions.saga import Declined, Run, Saga, Sagas, pivot, retriable, step

Order = dict[str, Any]
# What each service holds, and what its branches do with it: more of the first, less of the second.
SERVICES = {"stock": ("figs", "aside"), "payment": ("cash", "held"), "delivery": ("free", "booked")}
AMOUNTS = {"reserve": 7, "hold": 21, "book": 1}


def serve(name: str) -> None:
    """Moves what is asked for between two rows, once for each call, in one local transaction."""
    source, target = SERVICES[name]
    with closing(sqlite3.connect(f"{name}.sqlite", isolation_level=None)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS things (name TEXT PRIMARY KEY, amount INTEGER)")
        db.executemany("INSERT OR IGNORE INTO things VALUES (?, ?)", [(source, 100), (target, 0)])
        create_table(db)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            call = Call.from_document(json.loads(body))
            with closing(sqlite3.connect(f"{name}.sqlite", isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                if call.payload > 100:
                    self.send_response(409)
                else:
                    if enter(db, call):
                        amount = call.payload if call.act is Act.DO else -call.payload
                        update = "UPDATE things SET amount = amount + ? WHERE name = ?"
                        db.executemany(update, [(-amount, source), (amount, target)])
                    self.send_response(204)
                db.execute("COMMIT")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def ask(run: Run[Order], service: str, amount: int) -> None:
    document = json.dumps(run.call(amount).as_document()).encode()
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{run.input[service]}/", document).close()
    except urllib.error.HTTPError as error:
        raise Declined(f"{service} refuses {amount}") from error


@step
def reserve(run: Run[Order]) -> None:
    ask(run, "stock", AMOUNTS["reserve"])


@reserve.undo
def put_back(run: Run[Order], _: None) -> None:
    ask(run, "stock", AMOUNTS["reserve"])


@step
def hold(run: Run[Order]) -> None:
    ask(run, "payment", AMOUNTS["hold"])


@hold.undo
def let_go(run: Run[Order], _: None) -> None:
    ask(run, "payment", AMOUNTS["hold"])


@pivot
def book(run: Run[Order]) -> None:
    ask(run, "delivery", run.input["vans"])


@retriable
def charge(run: Run[Order]) -> None:
    ask(run, "payment", 0)


ORDER = Saga("order", reserve, hold, book, charge)


def orchestrate(order: str, vans: str, ports: str) -> None:
    with Sagas("sqlite:///sagas.sqlite", ORDER) as sagas:
        outcome = sagas.run(ORDER, {**json.loads(ports), "vans": int(vans)}, id=order)
        print(f"{order}: {outcome.status} {outcome.reason}")


def stand() -> str:
    found = []
    for name in SERVICES:
        with closing(sqlite3.connect(f"{name}.sqlite")) as db:
            rows = db.execute("SELECT name, amount FROM things ORDER BY name").fetchall()
        found.append(", ".join(f"{amount} {thing}" for thing, amount in rows))
    return "; ".join(found)


def main() -> None:
    programs = [
        subprocess.Popen([sys.executable, __file__, name], stdout=subprocess.PIPE, text=True)
        for name in SERVICES
    ]
    ports = {}
    for name, program in zip(SERVICES, programs, strict=True):
        assert program.stdout is not None
        ports[name] = int(program.stdout.readline())
    try:
        for order, vans in (("order-1", 1), ("order-2", 101)):
            command = [sys.executable, __file__, "orchestrate", order, str(vans), json.dumps(ports)]
            # It kills itself after its second service did what it was asked, before that is noted.
            point = {"MORETON_FAILPOINT": "saga.sqlite.step-done.before:2"}
            status = subprocess.run(command, env={**os.environ, **point}).returncode
            print(f"{order}: killed by signal {-status}; {stand()}")
            subprocess.run(command, check=True)
            print(f"   {stand()}")
    finally:
        for program in programs:
            program.terminate()
            program.wait()
            assert program.stdout is not None
            program.stdout.close()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["orchestrate", order, vans, ports]:
            orchestrate(order, vans, ports)
        case [name]:
            serve(name)
        case _:
            main()
