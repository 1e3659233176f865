from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from moreton.config import load_document
from moreton.config.files import prints
from moreton.controlplane.assembly.edits import files_of, watch_edits


async def test_edit_is_noticed_once_and_an_untouched_file_never(tmp_path: Path) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text("a")
    edits: asyncio.Queue[str] = asyncio.Queue()

    async def on_edit() -> None:
        edits.put_nowait(file.read_text())

    task = asyncio.create_task(watch_edits(lambda: [file], on_edit, seconds=0.001))
    await asyncio.sleep(0)
    beside = tmp_path / "new"
    beside.write_text("b")
    beside.replace(file)
    async with asyncio.timeout(5):
        assert await edits.get() == "b"
    file.write_text("longer")
    async with asyncio.timeout(5):
        assert await edits.get() == "longer"
    assert edits.empty()
    task.cancel()


async def test_an_edit_that_came_after_the_files_were_read_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text("version: 1\n")
    read = load_document(file).prints
    file.write_text("version: 1\nservices: {}\n")
    edited = asyncio.Event()

    async def on_edit() -> None:
        edited.set()

    watching = watch_edits(lambda: files_of(file), on_edit, seconds=0.001, applied=read)
    task = asyncio.create_task(watching)
    async with asyncio.timeout(5):
        await edited.wait()
    task.cancel()


async def test_an_edit_that_cannot_be_applied_is_not_the_last_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "moreton.yaml"
    file.write_text("a")
    edits: asyncio.Queue[str] = asyncio.Queue()

    async def on_edit() -> None:
        edits.put_nowait(text := file.read_text())
        if text == "bad":
            raise LookupError(text)

    task = asyncio.create_task(watch_edits(lambda: [file], on_edit, seconds=0.001))
    await asyncio.sleep(0)
    for text in ("bad", "better"):
        file.write_text(text)
        async with asyncio.timeout(5):
            assert await edits.get() == text
    assert "could not be applied" in caplog.text
    task.cancel()


def test_folder_is_its_yaml_files_and_a_missing_file_is_no_fault(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "c.yml", "notes.txt", ".#a.yaml"):
        (tmp_path / name).write_text("")
    assert [file.name for file in files_of(tmp_path)] == ["a.yaml", "b.yaml", "c.yml"]
    assert files_of(tmp_path / "a.yaml") == [tmp_path / "a.yaml"]
    assert prints([tmp_path / "gone.yaml"]) == {}
