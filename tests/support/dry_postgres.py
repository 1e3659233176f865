"""Dry runs over SQLAlchemy and psycopg on PostgreSQL; `python dry_postgres.py FOLDER DSN`."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.util.concurrency import greenlet_spawn

from moreton.strangler.agent import Agent
from moreton.strangler.agent.drying import dry, take_back
from moreton.strangler.agent.recording import Recording, into
from moreton.strangler.agent.watching.blocking import Blocked

FOLDER, DSN = Path(sys.argv[1]), sys.argv[2]
URL = DSN.replace("postgresql://", "postgresql+psycopg://", 1)
INSERT, COUNT = text("INSERT INTO cart VALUES (nextval('ids'))"), text("SELECT COUNT(*) FROM cart")
agent = Agent(FOLDER / "effects.sqlite")


def left() -> int:
    with psycopg.connect(DSN) as connection:
        row = connection.execute("SELECT COUNT(*) FROM cart").fetchone()
    assert row is not None
    return int(row[0])


def over(engine: Any) -> list[Any]:
    """What a dry run sees of its own, and what is there after it."""
    recording = Recording(dry=True)
    with dry(recording):
        with engine.begin() as connection:
            connection.execute(INSERT)
        with engine.connect() as connection:
            connection.execute(INSERT)
            seen = connection.execute(COUNT).scalar()
            connection.rollback()
            seen_after = connection.execute(COUNT).scalar()
    return [seen, seen_after, left(), recording.blocked]


async def over_async() -> list[Any]:
    engine = create_async_engine(URL)
    recording = Recording(dry=True)
    with into(recording):
        async with engine.begin() as connection:
            await connection.execute(INSERT)
        async with engine.connect() as connection:
            seen = (await connection.execute(COUNT)).scalar()
    await greenlet_spawn(take_back, recording)
    await engine.dispose()
    return [seen, left(), recording.blocked]


def beside() -> list[Any]:
    """A connection of the driver's own."""
    recording = Recording(dry=True)
    with psycopg.connect(DSN) as connection, dry(recording):
        try:
            connection.execute("INSERT INTO cart VALUES (1)")
        except Blocked:
            connection.rollback()
    return [left(), recording.blocked]


def main() -> None:
    with psycopg.connect(DSN) as connection:
        connection.execute("CREATE SEQUENCE ids")
        connection.execute("CREATE TABLE cart (n int)")
    agent.recording()  # the drivers are watched from here on
    plain = create_engine(URL)
    found = {
        "plain": over(plain),
        "again": over(plain),
        "autocommit": over(create_engine(URL, isolation_level="AUTOCOMMIT")),
        "async": asyncio.run(over_async()),
        "beside": beside(),
    }
    print(json.dumps(found))


main()
