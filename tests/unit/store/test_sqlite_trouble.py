from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from moreton.kernel.rng import seeded_rng
from moreton.store import KeyValue, open_store
from moreton.store.core.changes import Change
from moreton.store.errors import (
    NotAStore,
    StoreCorrupt,
    StoreError,
    StoreFailing,
    StoreFileGone,
    StoreFull,
    StoreInUse,
    StoreNewer,
    StoreNotOpened,
    StoreReadOnly,
)
from moreton.store.host import LocalStore
from moreton.store.sqlite import open_sqlite_store
from moreton.store.sqlite.file import StoreFile
from moreton.store.sqlite.journal import SqliteJournal
from moreton.store.sqlite.schema import SCHEMA_VERSION


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def journal_of(store: LocalStore) -> SqliteJournal:
    assert isinstance(store._journal, SqliteJournal)
    return store._journal


def file_of(store: LocalStore) -> StoreFile:
    return journal_of(store)._file


def allow_pages(store: LocalStore, pages: int) -> None:
    """The disk has room for so many pages: SQLite answers SQLITE_FULL beyond them."""
    file_of(store)._db.execute(f"PRAGMA max_page_count = {pages}").fetchall()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def contents(store: LocalStore) -> tuple[KeyValue, ...]:
    return (await store.range(b"", b"\0")).kvs


async def fill(path: Path, keys: int = 50) -> tuple[KeyValue, ...]:
    store = open_sqlite_store(path)
    for number in range(keys):
        await store.put(b"key/%03d" % number, b"value %d " % number * 20)
    everything = await contents(store)
    await store.close()
    return everything


async def test_sqlite_synchronises_every_commit(path: Path) -> None:
    store = open_sqlite_store(path)
    database = file_of(store)._db
    assert database.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    await store.close()


async def test_store_file_is_private_to_its_user(path: Path) -> None:
    await fill(path, 1)
    assert path.stat().st_mode & 0o777 == 0o600


async def test_newer_store_is_refused_and_left_untouched(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    database.close()
    before = path.read_bytes()
    with pytest.raises(StoreNewer, match="format 2 and this version knows up to 1") as caught:
        open_sqlite_store(path)
    assert (caught.value.found, caught.value.supported) == (SCHEMA_VERSION + 1, SCHEMA_VERSION)
    assert path.read_bytes() == before


async def test_second_process_is_refused_and_told_who_has_the_file(path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from moreton.store.sqlite import open_sqlite_store\n"
        "async def main():\n"
        "    open_sqlite_store(pathlib.Path(sys.argv[1]))\n"
        "    print('open', flush=True)\n"
        "    sys.stdin.read()\n"
        "asyncio.run(main())\n"
    )
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdin=pipe, stdout=pipe
    )
    try:
        assert child.stdout is not None
        assert await asyncio.wait_for(child.stdout.readline(), 30) == b"open\n"
        with pytest.raises(StoreInUse, match=f"in use by process {child.pid}"):
            open_sqlite_store(path)
    finally:
        child.kill()
        await asyncio.wait_for(child.communicate(), 30)
    store = open_sqlite_store(path)
    with pytest.raises(StoreInUse, match=f"in use by process {os.getpid()}"):
        open_sqlite_store(path)
    await store.put(b"a", b"the refused one broke nothing")
    await store.close()


async def test_link_to_an_open_store_is_refused(path: Path, tmp_path: Path) -> None:
    store = open_sqlite_store(path)
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    with pytest.raises(StoreInUse):
        open_sqlite_store(link)
    await store.close()


@pytest.mark.parametrize("content", [b"version: 1\ngateways: {}\n" * 100, b"x", b"\0" * 8192])
async def test_other_file_is_refused_and_left_untouched(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught:
        open_sqlite_store(path)
    assert isinstance(caught.value, NotAStore | StoreCorrupt)
    assert path.read_bytes() == content


async def test_other_database_is_refused_and_left_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE customers (name TEXT)")
    database.close()
    before = path.read_bytes()
    with pytest.raises(NotAStore, match="another program's SQLite database"):
        open_sqlite_store(path)
    assert path.read_bytes() == before


async def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreNotOpened, match="its folder does not exist"):
        open_sqlite_store(tmp_path / "none" / "store.sqlite")
    with pytest.raises(StoreNotOpened, match="is a directory"):
        open_sqlite_store(tmp_path)


@pytest.mark.slow
async def test_damaged_store_is_never_read_wrongly(path: Path, tmp_path: Path) -> None:
    everything = await fill(path)
    healthy = path.read_bytes()
    rng = seeded_rng("damage")
    refused = 0
    for number in range(120):
        damaged = bytearray(healthy)
        # Mostly single bytes, sometimes a page, sometimes the file's end.
        start = rng.randrange(len(damaged))
        length = (1, 1, 1, 4096)[number % 4]
        damaged[start : start + length] = rng.randbytes(length)
        if number % 10 == 9:
            del damaged[start:]
        copy = tmp_path / f"{number}.sqlite"
        copy.write_bytes(damaged)
        try:
            store = open_sqlite_store(copy)
        except StoreError:
            refused += 1
            continue
        # An empty file is a new store: nothing tells that it was another.
        assert await contents(store) == everything or not damaged, f"damage {number} at {start}"
        await store.close()
    assert refused > 50


async def test_lost_record_is_noticed(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DELETE FROM events WHERE revision = 17")
    database.close()
    with pytest.raises(StoreCorrupt, match="revision 18 follows 16"):
        open_sqlite_store(path)


async def test_changed_record_is_noticed(path: Path) -> None:
    await fill(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("UPDATE events SET value = x'00' WHERE revision = 17")
    database.close()
    with pytest.raises(StoreCorrupt, match="at revision 17 fails its checksum"):
        open_sqlite_store(path)


async def test_full_disk_refuses_writes_and_loses_nothing(path: Path) -> None:
    store = open_sqlite_store(path)
    allow_pages(store, 40)
    answered: list[bytes] = []

    async def write(writer: int) -> None:
        for number in range(30):
            key = b"%d/%d" % (writer, number)
            await store.put(key, bytes(1000))
            answered.append(key)

    async with store.watch(b"", b"\0") as watch:
        outcomes = await asyncio.gather(*map(write, range(16)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StoreFull] * 16
        assert answered
        assert sorted(kv.key for kv in await contents(store)) == sorted(answered)
        seen = [(await anext(watch)).events[0].kv.key for _ in answered]
        assert sorted(seen) == sorted(answered)
        assert store.statistics().revision == 1 + len(answered)
        allow_pages(store, 4000)
        assert await store.put(b"room again", b"") == 2 + len(answered)
        assert (await anext(watch)).events[0].kv.key == b"room again"
    everything = await contents(store)
    await store.close()
    store = open_sqlite_store(path)
    assert await contents(store) == everything
    await store.close()


async def test_what_was_queued_behind_a_failure_is_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_sqlite_store(path)
    file, all_queued, write = file_of(store), Event(), file_of(store).write

    def fail_once(changes: Iterable[Change]) -> None:
        assert all_queued.wait(30)
        monkeypatch.setattr(file, "write", write)
        del changes
        raise StoreFull(path=path)

    monkeypatch.setattr(file, "write", fail_once)
    first = asyncio.ensure_future(store.put(b"a", b"1"))
    await asyncio.sleep(0)
    await wait_until(journal_of(store)._queue.empty)
    assert store.statistics().writes_pending == 1
    others = [asyncio.ensure_future(store.put(b"b%d" % n, b"1")) for n in range(5)]
    await asyncio.sleep(0)
    all_queued.set()
    outcomes = await asyncio.gather(first, *others, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreFull] * 6
    assert await store.put(b"c", b"1") == 2
    everything = await contents(store)
    assert [kv.key for kv in everything] == [b"c"]
    await store.close()
    store = open_sqlite_store(path)
    assert await contents(store) == everything
    await store.close()


async def test_lease_ends_once_there_is_room_again(path: Path) -> None:
    store = open_sqlite_store(path)
    lease = await store.grant(timedelta(milliseconds=50))
    async with store.watch(b"a") as watch:
        await store.put(b"a", b"1", lease=lease)
        file_of(store)._db.execute("PRAGMA query_only = ON")
        await anext(watch)
        ended = asyncio.ensure_future(anext(watch))
        await wait_until(lambda: journal_of(store)._failures > 0)
        assert [kv.key for kv in await contents(store)] == [b"a"]
        file_of(store)._db.execute("PRAGMA query_only = OFF")
        async with asyncio.timeout(30):
            batch = await ended
    assert [event.kind for event in batch.events] == ["delete"]
    await store.close()


async def test_store_that_may_not_be_written_refuses_and_recovers(path: Path) -> None:
    store = open_sqlite_store(path)
    await store.put(b"a", b"1")
    file_of(store)._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreReadOnly):
        await store.put(b"a", b"2")
    file_of(store)._db.execute("PRAGMA query_only = OFF")
    assert (await store.range(b"a")).kvs[0].value == b"1"
    assert await store.put(b"a", b"3") == 3
    await store.close()


async def test_deleted_file_refuses_writes(path: Path) -> None:
    store = open_sqlite_store(path)
    await store.put(b"a", b"1")
    path.rename(path.with_suffix(".away"))
    with pytest.raises(StoreFileGone):
        await store.put(b"a", b"2")
    path.write_bytes(b"another one")
    with pytest.raises(StoreFileGone):
        await store.put(b"a", b"2")
    path.with_suffix(".away").rename(path)
    assert await store.put(b"a", b"3") == 3
    assert (await store.range(b"a")).kvs[0].value == b"3"
    await store.close()


async def test_fault_in_the_writer_is_told_to_the_caller(path: Path) -> None:
    store = open_sqlite_store(path)
    database = file_of(store)._db
    database.close()
    with pytest.raises(StoreFailing, match="closed database"):
        await store.put(b"a", b"1")
    await store.close()


@pytest.fixture
def foreign_folder() -> Iterator[Path]:
    """A folder that a user without rights can reach, and not write."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def test_read_only_file_is_refused(foreign_folder: Path) -> None:
    await fill(foreign_folder / "store.sqlite", 1)
    for found in (foreign_folder, *foreign_folder.iterdir()):
        found.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(StoreReadOnly, match="may not be written"):
            open_sqlite_store(foreign_folder / "store.sqlite")
        with pytest.raises(StoreReadOnly, match="may not be written"):
            open_sqlite_store(foreign_folder / "new.sqlite")
    finally:
        os.seteuid(user)
        foreign_folder.chmod(0o755)


async def test_relative_address_is_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///here.sqlite")
    await store.close()
    assert (tmp_path / "here.sqlite").exists()
