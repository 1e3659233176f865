"""The report of a migration that is over lies in a folder without being asked for."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moreton.controlplane.migrations.reports import files
from moreton.controlplane.migrations.reports.files import ReportFiles, report_file
from moreton.controlplane.migrations.reports.findings import findings
from moreton.strangler.compare import Comparison, Difference, Differences, Kind, Noise
from moreton.strangler.compare.core.live import Live
from moreton.strangler.reporting import Accepted
from moreton.strangler.rollout.core.progress import Order
from support.migrated import BEGAN, Migrated
from support.waits import SECONDS


@contextlib.asynccontextmanager
async def writing(migrated: Migrated, folder: Path) -> AsyncIterator[asyncio.Task[None]]:
    kept = ReportFiles(migrated.store, folder, lambda _: migrated.report())
    task = asyncio.create_task(kept.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def is_there(file: Path, text: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not (file.exists() and text in file.read_text()):
            await asyncio.sleep(0.005)


async def test_page_is_written_at_each_end_and_by_whoever_comes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_SETTLED_SECONDS", 0.0)
    migrated, folder = Migrated(), tmp_path / "reports"
    file = report_file(folder, "catalogue")
    async with writing(migrated, folder):
        await migrated.order(Order.START)
        await migrated.watch(3)
        assert not file.exists(), "there is a report of what is not over"
        await migrated.order(Order.ROLLBACK, "wrong prices")
        await is_there(file, "wrong prices")
    await migrated.order(Order.RESUME)
    await migrated.watch(3)
    await migrated.order(Order.ROLLBACK, "wrong names")
    os.utime(file, (0, 0))  # of before, whatever time the test runs at
    async with writing(migrated, folder):
        await is_there(file, "wrong names")
    assert [each.name for each in folder.iterdir()] == ["catalogue.html"]


async def test_folder_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(files, "_SETTLED_SECONDS", 0.0)
    migrated, folder = Migrated(), tmp_path / "reports"
    folder.write_text("a file")
    await migrated.order(Order.START)
    await migrated.order(Order.ROLLBACK)
    async with writing(migrated, folder) as task:
        async with asyncio.timeout(SECONDS):
            while "is not written" not in caplog.text:
                await asyncio.sleep(0.005)
        folder.unlink()
        await migrated.order(Order.RESUME)
        await migrated.order(Order.ROLLBACK, "again")
        await is_there(report_file(folder, "catalogue"), "again")
        assert not task.done()


def test_findings_are_those_of_the_route_with_what_is_accepted_and_why(tmp_path: Path) -> None:
    file = tmp_path / "differences.sqlite"
    live = Live("products", "shop", "catalogue", rules=(("$.at", "ignore", "it is now"),))
    assert findings(file, "products", live).differences == ()
    wrong = [Difference("$.price", Kind.VALUE, "9", "10")]
    with Differences(file) as kept:
        for endpoint, route in (("GET /catalogue/*", "products"), ("GET /basket", "basket")):
            kept.add(endpoint, wrong, BEGAN, request="GET /", primary="", candidate="", route=route)
        kept.accept("$.tax", "round 2", "taxes are rounded", BEGAN)
    found = findings(file, "products", live)
    assert [(each.endpoint, each.field, each.count) for each in found.differences] == [
        ("GET /catalogue/*", "$.price", 1)
    ]
    assert found.accepted == (
        Accepted("$.at", "ignore", "it is now", "moreton.yaml"),
        Accepted("$.tax", "round 2", "taxes are rounded", "moreton migrate diffs"),
    )
    assert not found.note


def test_a_report_says_what_is_undecided_still(tmp_path: Path) -> None:
    file, noise = tmp_path / "differences.sqlite", Noise()
    noise.learn("GET /a", Comparison(()), Comparison((Difference("$.b", Kind.VALUE, "9", "10"),)))
    with Differences(file) as kept:
        kept.save_noise(noise)
    note = findings(file, "products", None).note
    assert "GET /a differs in $.b (value)" in note
    assert "19 requests more will tell" in note


def test_file_of_differences_that_is_broken_is_told_and_no_reason_to_fail(tmp_path: Path) -> None:
    file = tmp_path / "differences.sqlite"
    file.write_bytes(b"not a database" * 100)
    found = findings(file, "products", None)
    assert found.differences == ()
    assert "cannot be read" in found.note
