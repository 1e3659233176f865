"""A disk that is really full: a file system of a MiB of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from moreton.store.errors import StoreError, StoreFull
from moreton.store.sqlite import open_sqlite_store

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


async def fill_and_recover(folder: Path) -> None:
    """Fill the disk by writes and by others' files; free it; nothing answered may be missing."""
    path = folder / "store.sqlite"
    store = open_sqlite_store(path)
    answered: dict[bytes, bytes] = {}
    refused: list[StoreError] = []

    async def write(key: bytes, value: bytes) -> None:
        try:
            await store.put(key, value)
        except StoreError as error:
            refused.append(error)
        else:
            answered[key] = value

    for turn in range(4):
        ballast = folder / "ballast"
        with ballast.open("wb") as file:
            space = os.statvfs(folder)
            keep = 0 if turn % 2 else 100_000
            file.write(bytes(max(space.f_bavail * space.f_bsize - keep, 0)))
        refused.clear()
        for number in range(20):
            keys = [b"%d/%d/%d" % (turn, number, writer) for writer in range(8)]
            await asyncio.gather(*(write(key, key * 500) for key in keys))
        assert refused
        assert {type(error) for error in refused} == {StoreFull}
        found = await store.range(b"", b"\0")
        assert {kv.key: kv.value for kv in found.kvs} == answered
        ballast.unlink()
        await store.delete(b"", b"\0")
        answered.clear()
        await write(b"room/%d" % turn, b"again")
        await store.compact(store.statistics().revision)
        assert answered
    await store.close()
    store = open_sqlite_store(path)
    found = await store.range(b"", b"\0")
    assert {kv.key: kv.value for kv in found.kvs} == answered
    await store.close()


@pytest.mark.skipif(not may_mount(), reason="this user may not mount a file system of its own")
def test_full_file_system_refuses_writes_and_loses_nothing(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" "$3" "$1"'
    arguments = ["sh", str(tmp_path), sys.executable, str(PROGRAM)]
    command = ["unshare", "-rm", "sh", "-c", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    asyncio.run(fill_and_recover(Path(sys.argv[1])))
