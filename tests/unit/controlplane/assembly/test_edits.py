from __future__ import annotations

import asyncio
from pathlib import Path

from moreton.controlplane.assembly.edits import files_of, prints, watch_edits


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


def test_folder_is_its_yaml_files_and_a_missing_file_is_no_fault(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [file.name for file in files_of(tmp_path)] == ["a.yaml", "b.yaml"]
    assert files_of(tmp_path / "a.yaml") == [tmp_path / "a.yaml"]
    assert prints([tmp_path / "gone.yaml"]) == {}
