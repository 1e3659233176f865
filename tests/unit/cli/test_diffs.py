"""What people see of differences, and what they say of them."""

from __future__ import annotations

import http.server
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from moreton.cli.exits import Exit
from moreton.cli.main import application
from moreton.cli.migrate.replaying import left_of
from moreton.strangler.compare import (
    DEFAULT_RULES,
    Answer,
    Comparison,
    Difference,
    Differences,
    Kind,
    Noise,
    Redactor,
    Verdict,
)
from moreton.strangler.compare.serving.keeping import mark_of
from moreton.strangler.compare.sqlite import Pair
from moreton.strangler.compare.written import write_answer

PRICE = Difference("$.items[3].price", Kind.VALUE, "9.99", "999")
NOW = datetime(2026, 11, 27, tzinfo=UTC)
ANSWER = Answer(200, [("content-type", "application/json")], b'{"price": 9.99}')


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moreton.yaml").write_text("version: 1\n")
    path = tmp_path / ".moreton" / "compare" / "differences.sqlite"
    kept = write_answer(ANSWER, Redactor(str))
    noise = Noise()
    noise.learn("GET /items", Comparison((PRICE,)), Comparison((PRICE,)))
    with Differences(path) as differences:
        texts = {"request": "GET /items", "primary": kept, "candidate": kept, "route": "all"}
        differences.add("GET /items", [PRICE], NOW, **texts)
        differences.save_noise(noise)
    return path


def call(*words: str) -> Result:
    return CliRunner().invoke(application(("migrate",)), ("migrate", "diffs", *words))


def said(*words: str) -> Any:
    result = call(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.mark.usefixtures("file")
def test_differences_are_shown_by_shape_and_one_by_one() -> None:
    (group,) = said()
    assert (group["endpoint"], group["field"]) == ("GET /items", "$.items[*].price")
    pair = said("--show", str(group["pairs"][0]))
    assert pair["differences"][0]["candidate"] == "999"
    assert "def test_" in said("--export", str(pair["id"]))["test"]


def test_what_is_undecided_is_told_of_with_what_it_takes(file: Path) -> None:
    noise, changed = Noise(), Comparison((PRICE, Difference("$.at", Kind.VALUE, "1", "2")))
    for _ in range(12):
        noise.learn("GET /new", Comparison(()), changed)
    with Differences(file) as differences:
        differences.save_noise(noise)
    told = " ".join(call().stdout.split())
    assert "undecided: GET /new differs in $.at (value) and 1 more," in told
    assert "asked twice 12 of 20 times: 8 requests more will tell" in told
    for _ in range(8):
        noise.learn("GET /new", Comparison(()), changed)
    with Differences(file) as differences:
        differences.save_noise(noise)
    assert "undecided" not in call().stdout


def test_what_is_accepted_and_judged_is_kept_with_its_reason(file: Path) -> None:
    said("--accept", "$.items[*].price", "--because", "rounded")
    (one,) = said("--learned")
    assert one["verdict"] == "noise"
    judging = ["--judge", str(one["number"]), "--verdict", "keep", "--because", "prices count"]
    said(*judging)
    with Differences(file) as differences:
        assert [rule.because for rule in differences.rules()] == ["rounded"]
        ((_, learned),) = differences.learned()
    assert (learned.verdict, learned.because) == (Verdict.KEEP, "prices count")


def test_there_is_nothing_to_show_before_anything_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call()
    assert result.exit_code == Exit.USAGE
    assert "nothing was compared" in " ".join(result.output.replace("│", "").split())


def test_replay_leaves_out_what_only_time_secrets_and_noise_change(file: Path) -> None:
    def answer(price: str, token: str, when: str, number: int) -> Answer:
        cookie = f"csrftoken={token}; expires=Fri, 27 Nov 2026 00:00:{when} GMT"
        headers = [("content-type", "application/json"), ("set-cookie", cookie)]
        return Answer(200, headers, json.dumps({"price": price, "number": number}).encode())

    redactor = Redactor(mark_of(file))
    wrong = Difference("$.price", Kind.VALUE, "9.99", "9.98")
    pair = Pair(
        1,
        "GET /items",
        NOW,
        "GET /items",
        write_answer(answer("9.99", "a" * 32, "00", 1), redactor),
        write_answer(answer("9.98", "b" * 32, "00", 2), redactor),
        [wrong],
    )

    def left(price: str, **noise: Any) -> list[Difference]:
        now = answer(price, "c" * 32, "30", 3)
        later = NOW + timedelta(seconds=30)
        return left_of(pair, now, redactor, DEFAULT_RULES, now=later, **noise)

    number = Difference("$.number", Kind.VALUE, "1", "3")
    assert left("9.98", noise=()) == [wrong, number]
    noise = {number.shape("GET /items")}
    assert left("9.98", noise=noise) == [wrong]
    assert left("9.99", noise=noise) == []


@pytest.mark.usefixtures("file")
def test_without_an_address_nothing_is_asked_again() -> None:
    result = call("--replay", "1")
    assert result.exit_code == Exit.USAGE
    assert "--at" in result.output


def test_a_pair_is_asked_again_where_the_candidate_is_and_by_its_route_s_rules(file: Path) -> None:
    body = b'{"price": 9.98}'

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.02])
        thread.start()
        try:
            (file.parent.parent.parent / "moreton.yaml").write_text(_RULED % server.server_port)
            (pair,) = said()[0]["pairs"]
            (one,) = said("--replay", str(pair))["differences"]
            assert (one["path"], one["candidate"]) == ("$.price", "9.98")
            said("--accept", "$.price", "--because", "rounded", "--route", "all")
            assert said("--replay", str(pair))["differences"] == []
        finally:
            server.shutdown()
            thread.join(30)


_RULED = """
version: 1
services:
  shop: {addresses: ["127.0.0.1:1"]}
  new: {addresses: ["127.0.0.1:%d"]}
routes:
  all: {path: /items, to: shop}
  more: {path: /more, to: shop}
compare:
  all: {candidate: new, side_effects: none}
  more: {candidate: new, side_effects: none, rules: [{path: $.price, because: "another's"}]}
"""
