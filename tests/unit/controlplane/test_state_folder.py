from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from moreton.controlplane.errors import AlreadyRunning, NotRunning, StateFolderUnusable
from moreton.controlplane.state_folder import StateFolder, find_running, holder_of, read_token
from support.synced import synced_paths
from support.waits import line_of

HOLD = """
import sys
from pathlib import Path
from moreton.controlplane.state_folder import StateFolder
folder = StateFolder.hold(Path(sys.argv[1]))
folder.announce("http://127.0.0.1:1")
print("held", flush=True)
sys.stdin.read()
"""


def test_folder_is_refused_with_the_holders_pid_when_another_process_holds_it(
    tmp_path: Path,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert line_of(child.stdout, "held") == b"held\n"
        with pytest.raises(AlreadyRunning, match=f"process {child.pid} runs `moreton up`"):
            StateFolder.hold(tmp_path)
        assert holder_of(tmp_path) == child.pid
        child.kill()
    StateFolder.hold(tmp_path).release()


def test_announcement_of_a_killed_process_counts_for_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        line_of(child.stdout, "held")
        assert find_running(tmp_path).api == "http://127.0.0.1:1"
        child.kill()
    with pytest.raises(NotRunning, match=f"process {child.pid} has ended"):
        find_running(tmp_path)


def test_announcement_is_gone_when_released(tmp_path: Path) -> None:
    folder = StateFolder.hold(tmp_path)
    folder.announce("http://127.0.0.1:7400")
    assert find_running(tmp_path).pid == os.getpid()
    folder.release()
    folder.release()
    with pytest.raises(NotRunning, match="nothing is announced there"):
        find_running(tmp_path)


def test_token_is_private_and_stays_the_same(tmp_path: Path) -> None:
    folder = StateFolder.hold(tmp_path / "state")
    try:
        token = folder.token()
        assert len(token) >= 32
        assert (tmp_path / "state" / "token").stat().st_mode & 0o777 == 0o600
        assert folder.token() == token
        assert read_token(tmp_path / "state") == token
    finally:
        folder.release()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateFolderUnusable, match="file/state cannot be used, not a directory"):
        StateFolder.hold(tmp_path / "file" / "state")


def test_no_one_runs_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match="moreton up"):
        find_running(tmp_path / "nothing")
    with pytest.raises(NotRunning, match="it has no token"):
        read_token(tmp_path)


def test_token_that_nodes_share_is_durable_and_so_is_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StateFolder.hold(tmp_path)
    folder.token()
    synced = synced_paths(monkeypatch)
    folder.take_token("shared")
    folder.release()
    assert synced == [tmp_path / "token.new", tmp_path]
    assert read_token(tmp_path) == "shared"
