"""Agents in Flask, FastAPI and Django: what each request did, and what its answer tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
SUPPORT = ROOT / "tests" / "support"
SECONDS_MAX = 120


def run(program: str, folder: Path) -> Any:
    """What the program of `tests/support` printed: an agent can never be taken out again."""
    done = subprocess.run(
        [sys.executable, SUPPORT / program, folder],
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
