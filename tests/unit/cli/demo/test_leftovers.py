"""A demonstration that was killed is ended by the next; one that goes on is left alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from moreton.cli.demo.leftovers import PREFIX, held, programs_in, sweep
from support.waits import end_at_once, line_of

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc")
SAYING = "print('up', flush=True); time.sleep(60)"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = tmp_path / f"{PREFIX}x"
    made.mkdir()
    return made


@pytest.fixture
def program(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", f"import time; {SAYING}"],
        cwd=folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert line_of(process.stdout, "it runs") == "up\n"
    yield process
    end_at_once(process)


def test_what_nobody_holds_is_ended_and_removed(
    folder: Path, program: subprocess.Popen[str]
) -> None:
    os.close(held(folder))
    assert programs_in(folder) == [program.pid]
    assert sweep() == 1
    assert program.wait(30) == -15
    assert not folder.exists()


def test_what_somebody_holds_goes_on(folder: Path, program: subprocess.Popen[str]) -> None:
    lock = held(folder)
    try:
        assert sweep() == 0
    finally:
        os.close(lock)
    assert program.poll() is None
    assert folder.exists()


def test_a_folder_without_a_lock_is_not_ours(folder: Path, program: subprocess.Popen[str]) -> None:
    assert sweep() == 0
    assert program.poll() is None
    assert folder.exists()
