"""A node on a disk that is really full: a file system of a MiB of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from contract.raft_node import Numbers, host_of
from moreton.consensus.disk import DiskFull, found
from moreton.consensus.errors import ConsensusError
from moreton.consensus.host import NodeFailed, first_snapshot

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__)


def may_mount() -> bool:
    unshare = shutil.which("unshare")
    return unshare is not None and (
        subprocess.run(
            [unshare, "-rm", "mount", "-t", "tmpfs", "none", "/mnt"],
            capture_output=True,
            timeout=120,
        ).returncode
        == 0
    )


def fill(folder: Path, *, left: int) -> None:
    """Let others' files take all but *left* bytes: also what the log has given back since."""
    space = os.statvfs(folder)
    with (folder / "ballast").open("ab") as ballast:
        ballast.write(bytes(max(space.f_bavail * space.f_bsize - left, 0)))


async def fill_and_recover(folder: Path) -> None:
    """Fill the disk by the log and by others' files; free it; nothing answered may be missing."""
    log = folder / "log"
    found(log, cluster="killed", node=1, voters=[1], data=first_snapshot({1: "127.0.0.1:1"}))
    answered: set[int] = set()
    for turn in range(4):
        numbers = Numbers()
        host = host_of(log, numbers)
        await host.start()
        await host.read_barrier()
        assert answered <= numbers.numbers.keys()
        await host.propose(b"%d" % (turn * 1000))
        refused: list[ConsensusError] = []
        for number in range(turn * 1000 + 1, turn * 1000 + 200):
            fill(folder, left=max(30_000 - (number % 1000) * 1000, 0))
            try:
                await host.propose(b"%d %s" % (number, b"x" * 3000))
                answered.add(number)
            except ConsensusError as error:
                refused.append(error)
        assert {type(error) for error in refused} == {NodeFailed}, refused[:1]
        assert isinstance(refused[0].__cause__, DiskFull)
        assert "free some space, then start it again" in str(host.status().error)
        await host.close()
        (folder / "ballast").unlink()
    assert answered


@pytest.mark.skipif(not may_mount(), reason="this user may not mount a file system of its own")
def test_a_node_on_a_full_disk_stops_and_comes_back_with_all_it_answered(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" "$3" "$1"'
    arguments = ["sh", str(tmp_path), sys.executable, str(PROGRAM)]
    command = ["unshare", "-rm", "sh", "-c", script, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    asyncio.run(fill_and_recover(Path(sys.argv[1])))
