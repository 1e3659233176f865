"""An order by TCC over three services, each with a database of its own; one is killed midway."""

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moreton.transactions.barrier import Act, Call, create_table, enter
from moreton.transactions.tcc import Coordinator, HttpParticipant, open_log

SERVICES = {"stock": 3, "payment": 100, "delivery": 9}
# What is reserved is neither free nor gone; confirming spends it, undoing gives it back.
CHANGES = {
    Act.DO: "UPDATE thing SET free = free - ?1, reserved = reserved + ?1 WHERE free >= ?1",
    Act.CONFIRM: "UPDATE thing SET reserved = reserved - ?1",
    Act.UNDO: "UPDATE thing SET free = free + ?1, reserved = reserved - ?1",
}


def handle(name: str, call: Call) -> bool:
    """What a service does: one transaction of its own, behind the barrier."""
    with closing(sqlite3.connect(f"{name}.db", timeout=10)) as database:
        passed = enter(database, call)
        enough = not passed or database.execute(CHANGES[call.act], (call.payload,)).rowcount == 1
        (database.commit if enough else database.rollback)()
    return enough


class Service(BaseHTTPRequestHandler):
    """POST /do, /confirm and /undo."""

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["content-length"])))
        enough = handle(sys.argv[2], Call.from_document(document))
        self.send_response(200 if enough else 409)
        self.end_headers()
        self.wfile.write(b"" if enough else b"not enough")

    def log_message(self, *_: Any) -> None:
        pass


def serve(name: str) -> None:
    with closing(sqlite3.connect(f"{name}.db")) as database:
        create_table(database)
        database.execute("CREATE TABLE thing (free INTEGER, reserved INTEGER)")
        database.execute("INSERT INTO thing VALUES (?, 0)", (SERVICES[name],))
        database.commit()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        print(server.server_port, flush=True)
        server.serve_forever()


def shop(*words: str) -> None:
    """The service that takes orders: a coordinator, and its log."""
    orders, *ports = words
    urls = {name: f"http://127.0.0.1:{port}" for name, port in zip(SERVICES, ports, strict=True)}
    participants = {name: HttpParticipant(url) for name, url in urls.items()}
    with closing(open_log("sqlite:///shop.db")) as log:
        coordinator = Coordinator(log, participants)
        for one in log.unfinished():
            log.release(one.transaction_id)  # nobody else is at it: not wait until it is due
        for outcome in coordinator.recover():
            print("  what was left is", outcome.state)
        for pieces in map(int, orders.split()):
            outcome = coordinator.run({"stock": pieces, "payment": 20 * pieces, "delivery": 1})
            print(f"  {pieces} figs: {outcome.state} {outcome.why}")


def run_shop(orders: str, ports: list[str], **environment: str) -> None:
    command = [sys.executable, __file__, "shop", orders, *ports]
    ended = subprocess.run(command, env={**os.environ, **environment}).returncode
    if ended:
        print("  the shop ended with", ended)
    for name in SERVICES:
        with closing(sqlite3.connect(f"{name}.db")) as database:
            free, reserved = database.execute("SELECT free, reserved FROM thing").fetchone()
        print(f"    {name}: {free} free, {reserved} reserved", flush=True)


def main() -> None:
    with ExitStack() as stack:
        ports = []
        for name in SERVICES:
            command = [sys.executable, __file__, "serve", name]
            service = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE))
            stack.callback(service.kill)
            assert service.stdout is not None
            ports.append(service.stdout.readline().decode().strip())
        print("two figs are ordered; two more are one too many", flush=True)
        run_shop("2 2", ports)
        print("the shop is killed when it has decided to sell one", flush=True)
        run_shop("1", ports, MORETON_FAILPOINT="tcc.decided")
        print("it starts again", flush=True)
        run_shop("", ports)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", name]:
            serve(name)
        case ["shop", *words]:
            shop(*words)
        case _:
            main()
