"""Agents in Flask, FastAPI and Django: what each request did, and what its answer tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from moreton.strangler.agent import Standing, read_told
from moreton.strangler.agent.core.packing import Writes, unpack
from support.postgres_server import PostgresServer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[4]
SUPPORT = ROOT / "tests" / "support"
SECONDS_MAX = 120


def run(program: str, folder: Path, *more: str) -> Any:
    """What the program of `tests/support` printed: an agent can never be taken out again."""
    done = subprocess.run(
        [sys.executable, SUPPORT / program, folder, *more],
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run("effects_flask_fastapi.py", tmp_path_factory.mktemp("shops"))


def test_a_route_of_flask_is_safe_after_enough_reads(shops: Any) -> None:
    route = '; route="GET /read/<int:number>"'
    assert shops["told"]["/read/1"] == [f"unknown{route}"]
    assert shops["told"]["/read/2"] == [f"safe{route}"]
    assert shops["effects"]["GET /read/<int:number>"] == []


@pytest.mark.parametrize(
    ("path", "endpoint", "effects"),
    [
        ("/buy", "GET /buy", ["sql INSERT cart"]),
        ("/past", "GET /past", ["sql INSERT cart"]),
        ("/http/httpx", "GET /http/<client>", ["http POST 127.0.0.1"]),
        ("/program", "GET /program", ["process run true"]),
        ("/thread", "GET /thread", ["sql UPDATE cart"]),
        ("/pool", "GET /pool", ["sql UPDATE cart"]),
        ("/fails", "GET /fails", ["sql UPDATE cart"]),
        ("/api/sync", "GET /api/sync", ["sql INSERT cart"]),
        ("/api/async", "GET /api/async", ["http GET 127.0.0.1"]),
    ],
)
def test_a_request_that_wrote_is_told_with_what_it_did(
    shops: Any, path: str, endpoint: str, effects: list[str]
) -> None:
    assert shops["told"][path] == [f'wrote; route="{endpoint}"']
    assert set(effects) <= set(shops["effects"][endpoint])


def test_a_file_that_is_written_is_an_effect_and_one_that_is_read_is_none(shops: Any) -> None:
    (effect,) = shops["effects"]["GET /file"]
    assert effect.startswith("file write /")
    assert effect.endswith("/out.txt")


def test_what_urllib_connects_to_is_an_effect(shops: Any) -> None:
    assert "network connect 127.0.0.1:9" in shops["effects"]["GET /http/<client>"]


def test_what_is_harmless_leaves_a_route_safe(shops: Any) -> None:
    assert shops["told"]["/log"][-1] == 'safe; route="GET /log"'
    assert len(shops["effects"]["GET /log"]) == 1


@pytest.mark.parametrize(
    ("path", "endpoint"), [("/stream", "GET /stream"), ("/api/later", "GET /api/later")]
)
def test_what_happens_after_the_answer_began_counts_for_those_to_come(
    shops: Any, path: str, endpoint: str
) -> None:
    first, second = shops["told"][path]
    assert first == f'unknown; route="{endpoint}"'
    assert second == f'writes; route="{endpoint}"'
    assert shops["effects"][endpoint] == ["sql DELETE cart"]


def test_a_request_of_no_route_is_never_safe(shops: Any) -> None:
    assert shops["told"]["/nothing"] == ["unknown"]
    assert shops["told"]["/api/nothing"] == ["unknown"]


def test_who_does_not_ask_is_told_nothing(shops: Any) -> None:
    assert shops["told"]["unasked"] == [None]


def test_a_route_of_fastapi_is_safe_after_enough_reads(shops: Any) -> None:
    assert shops["told"]["/api/read/2"] == ['safe; route="GET /api/read/{number}"']


@pytest.fixture(scope="module")
def django_shop(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run("effects_django.py", tmp_path_factory.mktemp("django"))


@pytest.mark.parametrize(
    ("path", "effects"),
    [
        ("/buy/", ["mail send", "sql INSERT shop_cart", "sql UPDATE shop_cart"]),
        ("/raw/", ["sql INSERT shop_cart"]),
        ("/driver/", ["sql INSERT shop_cart"]),
        ("/two/", ["sql INSERT shop_cart"]),
        ("/cached/", ["cache set fig"]),
        ("/session/", ["sql INSERT django_session"]),
        ("/mail/", ["mail send"]),
        ("/own/", ["sql INSERT t"]),
        ("/thread/", ["sql INSERT shop_cart"]),
        ("/dies/", ["sql INSERT shop_cart"]),
        ("/buy_async/", ["sql INSERT shop_cart"]),
        ("/http/<str:client>/", ["network connect 127.0.0.1:9"]),
    ],
)
def test_a_request_to_django_that_wrote_is_told_with_what_it_did(
    django_shop: Any, path: str, effects: list[str]
) -> None:
    assert set(effects) <= set(django_shop["effects"][f"GET {path}"])
    asked = path.replace("<str:client>", "requests")
    told = {one["told"] for one in django_shop["told"][asked]}
    assert told == {f'wrote; route="GET {path}"'}


def test_reads_of_django_are_safe_and_what_streams_counts_once_it_did(django_shop: Any) -> None:
    def standings(path: str) -> list[str]:
        return [one["told"].partition(";")[0] for one in django_shop["told"][path]]

    assert standings("/read/") == ["unknown", "safe", "safe"]
    assert standings("/stream/") == standings("/stream_async/") == ["unknown", "writes", "writes"]


def dry_run(of: Any, path: str) -> tuple[int, str, Writes]:
    told = read_told(of[path]["told"])
    assert told.standing is Standing.DRY
    found = unpack(told.writes)
    assert found is not None
    return of[path]["status"], of[path]["body"], found


@pytest.mark.parametrize("of", ["dry", "dry_async"])
def test_a_dry_run_of_django_answers_as_the_request_would_and_tells_its_writes(
    django_shop: Any, of: str
) -> None:
    status, body, found = dry_run(django_shop[of], "/buy/")
    assert (status, body) == (201, "1 in it"), "it reads what it wrote"
    assert found.blocked == []
    assert [(one["what"], one["values"]) for one in found.writes] == [
        ("insert shop_cart", {"item": "fig", "price": "9.99"}),
        ("update shop_cart", {"price": "8.50", "where": "id = 1"}),
        ("mail send", {"to": ["a@shop.example"], "subject": "bought"}),
    ]
    assert dry_run(django_shop[of], "/buy_async/")[1] == "1 in it"
    assert dry_run(django_shop[of], "/dies/")[0] == 500


def test_what_cannot_be_taken_back_does_not_happen_and_is_told(django_shop: Any) -> None:
    blocked = {path: dry_run(django_shop["dry"], path)[2].blocked for path in django_shop["dry"]}
    assert {path: found for path, found in blocked.items() if found} == {
        "/driver/": ["sql of a connection that nobody rolls back"],
        "/ends/": ["sql COMMIT"],
        "/own/": ["sql of a connection that nobody rolls back"],
        "/thread/": ["sql of a connection that nobody rolls back"],
        "/http/requests/": ["network connect 127.0.0.1:9"],
        "/http/urllib/": ["network connect 127.0.0.1:9"],
    }


def test_a_dry_run_is_for_those_who_know_the_key_and_say_what_is_to_be_run(
    django_shop: Any,
) -> None:
    assert [one["status"] for one in django_shop["refused"]] == [404, 404, 404, 400]
    assert read_told(django_shop["wrong"]["told"]).writes == ""
    told = read_told(django_shop["writes"]["/buy/"]["told"])
    found = unpack(told.writes)
    assert found is not None
    assert {one["what"] for one in found.writes} == {
        "insert shop_cart",
        "update shop_cart",
        "mail send",
    }


@pytest.mark.parametrize(
    ("path", "body", "writes"),
    [
        ("/read/1", "read", []),
        ("/twice", "[7]", ["insert cart", "insert cart", "delete cart"]),
        ("/thread", "done", ["update cart"]),
        ("/stream", "ab", ["delete cart"]),
        ("/api/sync", '"in a thread"', ["insert cart"]),
        ("/api/later", '"later"', ["delete cart"]),
        ("/api/aio", '"1"', ["insert cart"]),
    ],
)
def test_a_dry_run_over_sqlalchemy_reads_what_it_wrote_and_leaves_nothing(
    shops: Any, path: str, body: str, writes: list[str]
) -> None:
    found = shops["dry"][path]
    assert (found["body"], found["blocked"]) == (body, [])
    assert [one["what"] for one in found["writes"]] == writes


@pytest.mark.parametrize(
    ("path", "blocked"),
    [
        ("/other", "sql BEGIN"),
        ("/own_name", "sql unseen"),
        ("/ends", "sql COMMIT"),
        ("/file", "file write"),
        ("/program", "process run true"),
        ("/http/httpx", "http POST 127.0.0.1"),
        ("/api/async", "http GET 127.0.0.1"),
    ],
)
def test_a_dry_run_over_sqlalchemy_does_not_do_what_stays(
    shops: Any, path: str, blocked: str
) -> None:
    assert shops["dry"][path]["blocked"][0].startswith(blocked)


def test_a_dry_run_on_postgresql_is_taken_back_whatever_the_driver_commits(
    postgres_of_session: PostgresServer, tmp_path: Path
) -> None:
    found = run("dry_postgres.py", tmp_path, postgres_of_session.new_database())
    assert found == {
        "plain": [2, 1, 0, []],
        "again": [2, 1, 0, []],
        "autocommit": [2, 1, 0, []],
        "async": [1, 0, []],
        "beside": [0, ["sql of a connection that nobody rolls back"]],
    }


def test_what_a_request_did_before_it_failed_counts(tmp_path: Path) -> None:
    found = run("effects_failing.py", tmp_path)
    assert found == {"/asgi": Standing.WRITES, "/wsgi": Standing.WRITES}
