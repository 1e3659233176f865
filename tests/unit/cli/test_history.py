from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from moreton.cli.exits import Exit
from moreton.cli.main import application
from moreton.kernel.rng import seeded_rng
from moreton.sim.linearizability.making import RegisterObject, Workload, draw_register, record

pytestmark = pytest.mark.slow


def check(*arguments: str, told: str | bytes = "") -> Result:
    words = ["history", "check", *arguments]
    return CliRunner().invoke(application(words), words, input=told)


def run(*arguments: str, told: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "moreton.cli.main", "history", "check", *arguments]
    return subprocess.run(command, input=told, capture_output=True, check=False, timeout=120)


def line(process: int, kind: str, op: str, value: Any, time: float) -> str:
    event = {"process": process, "type": kind, "op": op, "key": "x", "value": value, "time": time}
    return json.dumps(event) + "\n"


STALE = (
    line(0, "invoke", "write", 1, 0)
    + line(0, "ok", "write", None, 1)
    + line(1, "invoke", "read", None, 2)
    + line(1, "ok", "read", None, 3)
)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    workload = Workload(300, 5, draw_register(0, cas=True), RegisterObject().do, 0.02)
    file = tmp_path / "run.jsonl"
    file.write_text(record(workload, seeded_rng(1)).text())
    return file


@pytest.fixture
def stale(tmp_path: Path) -> Path:
    file = tmp_path / "stale.jsonl"
    file.write_text(STALE)
    return file


def test_good_history_is_called_linearizable(good: Path) -> None:
    result = check(str(good))
    assert result.exit_code == Exit.OK
    assert result.output.startswith("linearizable: ")
    assert "300 operations, 6 of unknown outcome" in result.output


def test_stale_read_is_shown_with_its_line(stale: Path) -> None:
    result = check(str(stale))
    assert result.exit_code == Exit.NO
    assert "not linearizable: 2 operations" in result.output
    assert 'key "x" is not linearizable: no order explains the answer on line 4' in result.output
    assert "then it holds 1" in result.output
    assert "read, saw null" in result.output


def test_verdict_is_one_json_document(good: Path, stale: Path) -> None:
    document = json.loads(check(str(good), "--json").output)
    assert document["linearizable"] is True
    assert document["model"] == "cas-register"
    assert document["violations"] == []
    result = check(str(stale), "--json", "--model", "register")
    assert result.exit_code == Exit.NO
    (violation,) = json.loads(result.output)["violations"]
    assert violation["line"] == 4
    assert violation["operation"] == {
        "process": 1,
        "op": "read",
        "key": "x",
        "argument": None,
        "result": None,
        "lines": [3, 4],
    }


def test_history_may_come_from_standard_input() -> None:
    assert "not linearizable" in check("-", told=STALE).output


def test_history_of_a_store_is_judged_as_one(tmp_path: Path) -> None:
    file = tmp_path / "store.jsonl"
    events = (("invoke", "1"), ("ok", {"revision": 3}))
    lines = [line(0, kind, "put", value, time) for time, (kind, value) in enumerate(events)]
    file.write_text("".join(lines))
    result = check(str(file), "--model", "store")
    assert result.exit_code == Exit.NO  # the first write makes revision 2
    assert "the store is not linearizable" in result.output


def test_every_bad_line_is_an_error_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(STALE + "{\n" + line(7, "ok", "read", 1, 9) + '{"process": 1}\n')
    ran = run(str(file))
    assert ran.returncode == Exit.TROUBLE
    errors = ran.stderr.decode().splitlines()
    assert [error.split(":")[1].strip() for error in errors] == ["line 5", "line 7"]
    assert not ran.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "error: line 1: the history is empty: there is nothing to judge"),
        (b"\x00\xff\x00", "error: line 1: not UTF-8"),
        (STALE.encode("utf-16"), "error: line 2: not UTF-8"),
        (STALE.replace("write", "append").encode(), "choose another model"),
    ],
)
def test_what_is_no_history_is_refused(content: bytes, says: str) -> None:
    ran = run("-", told=content)
    assert ran.returncode == Exit.TROUBLE
    assert says in ran.stderr.decode()
    assert b"Traceback" not in ran.stderr


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.jsonl", "no such file"), (tmp_path, "is a directory")):
        ran = run(str(path))
        assert ran.returncode == Exit.TROUBLE
        assert ran.stderr.decode().startswith(f"error: {path} cannot be read, {reason}")


def test_unknown_model_is_a_wrong_option(good: Path) -> None:
    result = check(str(good), "--model", "queue")
    assert result.exit_code == Exit.USAGE
    assert "cas-register" in result.output
