"""A shop in Flask and one in FastAPI, over SQLAlchemy: what their agents tell of each request."""

from __future__ import annotations

import json
import sqlite3
import sqlite3.dbapi2 as driver
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from sqlite3 import connect as connect_own
from typing import Any

import httpx
from fastapi import BackgroundTasks, FastAPI
from flask import Flask, Response
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session
from starlette.testclient import TestClient

from moreton.strangler.agent import Agent, Effects, read_told
from moreton.strangler.agent.core.packing import unpack
from moreton.strangler.agent.servers.asgi import EffectsMiddleware
from moreton.strangler.agent.servers.flask import EffectsOf

FOLDER = Path(sys.argv[1])
ASK = {"x-moreton-effects": "ask"}
NOWHERE = "http://127.0.0.1:9"  # the discard port: nobody listens
KEY = "a key that nobody guesses"
DRY_PATH = "/.well-known/moreton/dry-run"
engine = create_engine(f"sqlite:///{FOLDER}/shop.sqlite")
aio = create_async_engine(f"sqlite+aiosqlite:///{FOLDER}/shop.sqlite")
agent = Agent(
    FOLDER / "effects.sqlite",
    key=KEY,
    seen_min=2,
    harmless=[("file write */log.txt", "a log of our own")],
)
POOL = ThreadPoolExecutor(1)
app = Flask(__name__)
EffectsOf(app, agent)


def run(sql: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(sql))


run("CREATE TABLE cart (n int)")


@app.get("/read/<int:number>")
def read(number: int) -> str:
    run("SELECT n FROM cart")
    assert number
    return "read"


@app.route("/buy", methods=["GET", "POST"])
def buy() -> str:
    run("INSERT INTO cart VALUES (1)")
    return "bought"


@app.get("/file")
def file() -> str:
    (FOLDER / "out.txt").write_text("x")
    return Path(__file__).read_text()[:1]


@app.get("/log")
def log() -> str:
    (FOLDER / "log.txt").write_text("x")
    return "logged"


@app.get("/http/<client>")
def http(client: str) -> str:
    try:
        if client == "httpx":
            httpx.post(f"{NOWHERE}/pay", json={})
        else:
            urllib.request.urlopen(f"{NOWHERE}/pay", timeout=5)  # noqa: S310 - ours
    except OSError:
        return "refused"
    except httpx.ConnectError:
        return "refused"
    return "sent"


@app.get("/program")
def program() -> str:
    subprocess.run(["true"], check=True, timeout=30)
    return "ran"


@app.get("/thread")
def thread() -> str:
    started = threading.Thread(target=run, args=("UPDATE cart SET n = 2",))
    started.start()
    started.join(30)
    return "done"


@app.get("/pool")
def pool() -> str:
    POOL.submit(run, "UPDATE cart SET n = 3").result(30)
    return "done"


@app.get("/stream")
def stream() -> Response:
    def parts() -> Any:
        yield "a"
        run("DELETE FROM cart")
        yield "b"

    return Response(parts())


@app.get("/fails")
def fails() -> str:
    run("UPDATE cart SET n = 4")
    raise RuntimeError


@app.get("/twice")
def twice() -> str:
    """What one session wrote is read by another, and what it gave up is not."""
    with Session(engine) as session:
        session.execute(text("INSERT INTO cart VALUES (:n)"), {"n": 7})
        session.commit()
        session.execute(text("INSERT INTO cart VALUES (8)"))
        session.rollback()
    with engine.connect() as connection:
        found = connection.execute(text("SELECT n FROM cart ORDER BY n")).fetchall()
        connection.execute(text("DELETE FROM cart"))
    return str([row[0] for row in found])


@app.get("/other")
def other() -> str:
    with closing(driver.connect(FOLDER / "shop.sqlite")) as connection:
        connection.execute("INSERT INTO cart VALUES (9)")
        connection.commit()
    return "done"


@app.get("/past")
def past() -> str:
    connection = engine.raw_connection()
    connection.cursor().execute("INSERT INTO cart VALUES (9)")
    connection.rollback()
    connection.close()
    return "done"


@app.get("/own_name")
def own_name() -> str:
    with closing(connect_own(FOLDER / "shop.sqlite")) as connection:
        connection.execute("INSERT INTO cart VALUES (9)")
        connection.commit()
    return "done"


@app.get("/ends")
def ends() -> str:
    with engine.connect() as connection:
        connection.exec_driver_sql("INSERT INTO cart VALUES (1)")
        connection.exec_driver_sql("COMMIT")
    return "done"


api = FastAPI()
api.add_middleware(EffectsMiddleware, agent=agent)


@api.get("/api/read/{number}")
def api_read(number: int) -> int:
    run("SELECT n FROM cart")
    return number


@api.get("/api/sync")
def api_sync() -> str:
    run("INSERT INTO cart VALUES (2)")
    return "in a thread"


@api.get("/api/async")
async def api_async() -> str:
    async with httpx.AsyncClient() as client:
        try:
            await client.get(NOWHERE)
        except httpx.ConnectError:
            return "refused"
    return "sent"


@api.get("/api/later")
async def api_later(tasks: BackgroundTasks) -> str:
    tasks.add_task(run, "DELETE FROM cart")
    return "later"


@api.get("/api/aio")
async def api_aio() -> str:
    async with aio.begin() as connection:
        await connection.execute(text("INSERT INTO cart VALUES (5)"))
    async with aio.connect() as connection:
        found = await connection.execute(text("SELECT COUNT(*) FROM cart"))
        return str(found.scalar())


def left() -> Any:
    """Everything that a request may have left behind."""
    with closing(sqlite3.connect(FOLDER / "shop.sqlite")) as connection:
        return connection.execute("SELECT n FROM cart").fetchall(), sorted(
            one.name for one in FOLDER.iterdir() if one.suffix == ".txt"
        )


def run_dry(client: Any, path: str) -> dict[str, Any]:
    before = left()
    asked = {"x-moreton-effects": f"dry; key={KEY}", "x-moreton-dry-run": f"GET {path}"}
    answer = client.options(DRY_PATH, headers=asked)
    assert left() == before, (path, left())
    told = read_told(answer.headers.get("x-moreton-effects"))
    found = unpack(told.writes)
    assert found is not None, (path, answer.status_code, answer.text)
    return {"status": answer.status_code, "body": answer.text, "standing": told.standing,
            "endpoint": told.endpoint, "writes": list(found.writes),
            "blocked": list(found.blocked)}  # fmt: skip


def main() -> None:
    dry = {}
    told: dict[str, list[str | None]] = {}
    client = app.test_client()
    for path in ("/read/1", "/buy", "/twice", "/other", "/own_name", "/ends", "/file", "/program",
                 "/http/httpx", "/http/urllib", "/thread", "/stream", "/fails"):  # fmt: skip
        dry[path] = run_dry(client, path)
    with TestClient(api, raise_server_exceptions=False) as asking:
        for path in ("/api/read/1", "/api/sync", "/api/async", "/api/later", "/api/aio"):
            dry[path] = run_dry(asking, path)
    for path in ("/read/1", "/read/2", "/read/3", "/past", "/buy", "/file", "/log", "/log",
                 "/http/httpx", "/http/urllib", "/program", "/thread", "/pool", "/stream",
                 "/stream", "/fails", "/nothing"):  # fmt: skip
        answer = client.get(path, headers=ASK)
        assert answer.data is not None
        told.setdefault(path, []).append(answer.headers.get("x-moreton-effects"))
    told["unasked"] = [client.get("/read/4").headers.get("x-moreton-effects")]
    with TestClient(api) as asking:
        for path in ("/api/read/1", "/api/read/2", "/api/sync", "/api/async", "/api/later",
                     "/api/later", "/api/nothing"):  # fmt: skip
            answer_of_api = asking.get(path, headers=ASK)
            told.setdefault(path, []).append(answer_of_api.headers.get("x-moreton-effects"))
    agent.ledger.flush()
    known = Effects(FOLDER / "effects.sqlite").endpoints()
    effects = {one.name: sorted(str(seen.effect) for seen in one.effects) for one in known}
    print(json.dumps({"told": told, "effects": effects, "dry": dry}))


main()
