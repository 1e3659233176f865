"""Four shops that sell the same: the application, a new one, a wrong one, one without an agent.

`python dry_shops.py FOLDER`: says their ports and serves. Each has a database in FOLDER.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from uuid import uuid4
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from flask import Flask, request
from sqlalchemy import create_engine, text

from moreton.strangler.agent import Agent
from moreton.strangler.agent.servers.flask import EffectsOf

FOLDER, KEY = Path(sys.argv[1]), "a key that nobody guesses"


class Server(ThreadingMixIn, WSGIServer):
    """Takes several requests at a time."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Says nothing."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def shop(name: str, price: float, *, watched: bool) -> Flask:
    """Sells at *price*, with tax on top of it; columns are in another order elsewhere."""
    engine = create_engine(f"sqlite:///{FOLDER}/{name}.sqlite")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE cart (item TEXT, price REAL, token TEXT)"))
    app = Flask(name)
    if watched:
        EffectsOf(app, Agent(FOLDER / f"{name}.effects", key=KEY, seen_min=1))

    @app.route("/buy", methods=["POST"])
    def buy() -> tuple[dict[str, Any], int]:
        values = {"item": request.form["item"], "price": price, "token": uuid4().hex}
        columns = "item, price, token" if name == "shop" else "token, price, item"
        names = ", ".join(f":{one.strip()}" for one in columns.split(","))
        with engine.begin() as connection:
            connection.execute(text(f"INSERT INTO cart ({columns}) VALUES ({names})"), values)  # noqa: S608 - ours
        return {"bought": request.form["item"]}, 201

    # Whatever comes, as some applications have it.
    @app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @app.route("/<path:path>", methods=["GET", "POST"])
    def anything(path: str) -> str:
        return path

    return app


def main() -> None:
    ports = {}
    for name, price, watched in (
        ("shop", 9.99, True), ("new", 9.99, True), ("wrong", 999.0, True), ("bare", 9.99, False),
    ):  # fmt: skip
        app = shop(name, price, watched=watched)
        server = make_server("127.0.0.1", 0, app, Server, Handler)
        ports[name] = server.server_port
        threading.Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    print(json.dumps(ports), flush=True)
    sys.stdin.read()


main()
