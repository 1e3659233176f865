from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moreton.cli.client import ApiRefused, ApiUnreachable
from moreton.cli.exits import Exit, guarded
from moreton.config import ConfigRefused, Fault, Location
from moreton.controlplane.errors import PortInUse


@pytest.fixture(autouse=True)
def kept_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command keeps of its faults goes with the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def failing(error: BaseException) -> object:
    raise error


FAULTS = [Fault("a", "do b", Location("moreton.yaml", 1, 2)), Fault("c", "do d")]


@pytest.mark.parametrize(
    ("error", "status", "lines"),
    [
        (ConfigRefused(FAULTS), Exit.CONFIGURATION, 2),
        (ApiRefused(status=409, detail="no"), Exit.REFUSED, 1),
        (ApiUnreachable(api="http://x", reason="gone"), Exit.NOT_RUNNING, 1),
        (PortInUse(address="127.0.0.1:1", what="x", holder=None), Exit.TROUBLE, 1),
        (RuntimeError("broken"), Exit.BUG, 1),
    ],
)
def test_error_is_a_message_and_a_status_never_a_traceback(
    error: Exception, status: Exit, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(lambda: failing(error)) == status
    shown = capsys.readouterr().err
    assert shown.count("error: ") == lines
    assert "Traceback" not in shown


def test_bug_says_where_it_was_kept(capsys: pytest.CaptureFixture[str]) -> None:
    guarded(lambda: failing(ZeroDivisionError("oops")))
    shown = capsys.readouterr().err
    assert "MORETON_DEBUG=1" in shown
    path = shown.partition("kept in ")[2].rstrip(")\n")
    with open(path) as kept:  # noqa: PTH123 - a path from a message
        assert "ZeroDivisionError: oops" in kept.read()


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MORETON_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        guarded(lambda: failing(ZeroDivisionError()))


def test_interrupt_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(lambda: failing(KeyboardInterrupt())) == Exit.INTERRUPTED
    assert capsys.readouterr().err == ""


SAID = {
    "by click": "--version",
    "by us, much": "schema",
    "by rich": "check --help",
    "by us, little": "outbox schema --dialect sqlite",
}


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", SAID.values(), ids=SAID.keys())
def test_output_that_cannot_be_written_is_no_fault_of_ours(arguments: str, unbuffered: str) -> None:
    command = [sys.executable, "-m", "moreton.cli.main", *arguments.split()]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - no file
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=environment, check=False, timeout=60
        )
    told = done.stderr.decode()
    assert done.returncode == Exit.TROUBLE, told
    assert told.startswith("error: standard output cannot be written, no space left on device: ")
    assert told.count("\n") == 1


@pytest.mark.slow
def test_status_is_right_where_the_error_cannot_be_said() -> None:
    command = [sys.executable, "-m", "moreton.cli.main", "check", "nowhere.yaml"]
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - no file
        done = subprocess.run(command, stdout=full, stderr=full, check=False, timeout=60)
    assert done.returncode == Exit.CONFIGURATION


def test_other_trouble_with_a_file_stays_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    error = OSError(28, "No space left on device", "here")
    assert guarded(lambda: failing(error)) == Exit.BUG
    assert "moreton itself failed, OSError" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("arguments", SAID.values(), ids=SAID.keys())
def test_a_command_whose_reader_left_did_not_fail(arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "moreton.cli.main", *arguments.split()]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False, timeout=60)
    os.close(writer)
    assert (done.returncode, done.stderr) == (Exit.OK, b"")
