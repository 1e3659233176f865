"""A handler that hides that a statement failed loses nothing: its transaction fails."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import InternalError, SQLAlchemyError

from moreton.transactions.outbox.places.sqlalchemy import SqlAlchemyPlace
from support.postgres_server import PostgresServer

PROGRAM = Path(__file__).parents[1] / "support" / "hidden_failures_django.py"


def test_session_of_sqlalchemy(postgres_of_session: PostgresServer) -> None:
    url = postgres_of_session.new_database()
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as made:
        made.execute(text("CREATE TABLE kept (n int)"))
    place = SqlAlchemyPlace(engine)

    def hide() -> None:
        with place.begin() as work:
            work.given.execute(text("INSERT INTO kept VALUES (1)"))
            with contextlib.suppress(SQLAlchemyError):
                work.given.execute(text("SELECT nothing FROM nowhere"))

    with pytest.raises(InternalError, match="transaction is aborted"):
        hide()
    with place.begin() as work:
        work.given.execute(text("INSERT INTO kept VALUES (2)"))
        with contextlib.suppress(SQLAlchemyError), work.given.begin_nested():
            work.given.execute(text("SELECT nothing FROM nowhere"))
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT n FROM kept").fetchall() == [(2,)]
    place.close()


def django(engine: str, name: str, host: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, PROGRAM, f"django.db.backends.{engine}", name, host],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_postgresql_of_django(postgres_of_session: PostgresServer) -> None:
    given = psycopg.conninfo.conninfo_to_dict(postgres_of_session.new_database())
    told = django("postgresql", str(given["dbname"]), str(given["host"]))
    assert told == ["InternalError TransactionManagementError kept", "[3]"]


def test_sqlite_of_django_commits_what_did_not_fail(tmp_path: Path) -> None:
    told = django("sqlite3", str(tmp_path / "bank.db"), "")
    assert told == ["kept TransactionManagementError kept", "[1, 3]"]
