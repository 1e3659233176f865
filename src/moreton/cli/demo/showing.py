"""The story as people see it: a table that grows, and what it comes to."""

from __future__ import annotations

import contextlib
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from moreton.cli.demo.chapters import Chapter
from moreton.cli.demo.leftovers import sweep
from moreton.cli.demo.stage import Stage
from moreton.cli.demo.story import Story

_REFRESH_PER_SECOND = 4
_WIDTH = 110  # where there is no terminal to ask
STORY_BROKEN = 1  # the exit status when the story did not hold


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be shown, and where the *report* goes; `None`: a folder is made for it."""

    stay: bool
    short: bool
    report: Path | None
    as_json: bool


async def show(wanted: Wanted) -> int:
    """Tell the story; the exit status. With *stay* everything goes on until Ctrl-C."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=_WIDTH)
    started = time.monotonic()
    report = _folder(wanted.report)
    if sweep():
        console.print("ended what a killed demonstration had left running")
    stage = Stage.prepare(short=wanted.short)
    try:
        with console.status("starting the shop, Envoy and the catalogue service"):
            await stage.prepared()
        console.print(f"the shop is at http://{stage.address}/catalogue/", highlight=False)
        story = Story(stage, _saying(console), report=report, short=wanted.short)
        await _told(console, story)
        _say(console, story, time.monotonic() - started)
        if wanted.as_json:
            typer.echo(json.dumps(_as_document(story, report)))
        if wanted.stay:
            await _stay(console, stage)
    finally:
        # Whoever is in a hurry now would leave programs running.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with console.status("ending everything"):
            await stage.stop()
        if wanted.report is None:
            with contextlib.suppress(OSError):  # it has the report
                report.rmdir()
    return STORY_BROKEN if story.faults else 0


def _folder(given: Path | None) -> Path:
    """Where the report goes; also the commands find it, which run elsewhere."""
    if given is None:
        return Path(tempfile.mkdtemp(prefix="moreton-report-"))
    try:
        given.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"--report: {given} cannot be made: {error.strerror}") from error
    return given.absolute()


async def _told(console: Console, story: Story) -> None:
    """The table grows below what is done; where nobody looks on, it comes at the end."""
    if not console.is_terminal:
        await story.tell()
        console.print(_table(story))
        return
    table = partial(_table, story)
    with Live(console=console, refresh_per_second=_REFRESH_PER_SECOND, get_renderable=table):
        await story.tell()


async def _stay(console: Console, stage: Stage) -> None:
    console.print(
        f"everything goes on in {stage.folder}; for example:\n"
        f"  cd {stage.folder} && moreton migrate history catalogue\n"
        f"  cd {stage.folder} && moreton migrate rollback catalogue --because 'only a try'\n"
        f"  curl -si http://{stage.address}{stage.pages(1)[0]} | grep x-served-by\n"
        "Ctrl-C ends it",
        highlight=False,
    )
    assert stage.control_plane is not None
    await stage.control_plane.wait()


def _saying(console: Console) -> Callable[[str], None]:
    return lambda line: console.print(line, highlight=False, soft_wrap=True)


def _table(story: Story) -> Table:
    table = Table(title="one route of a real shop, moved by proof under load", expand=False)
    table.add_column("chapter", no_wrap=True)
    for heading in ("requests", "failed", "by new", "p50", "p99", "moved after"):
        table.add_column(heading, justify="right")
    for chapter in story.following.chapters:
        report = chapter.report
        table.add_row(
            chapter.title,
            str(report.requests),
            f"[red]{report.failures}[/]" if report.failures else "0",
            f"{chapter.part:.0%}",
            _milliseconds(report.percentile(0.5) * 1000),
            _milliseconds(report.percentile(0.99) * 1000),
            _milliseconds(chapter.moved_ms),
        )
    return table


def _milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def _say(console: Console, story: Story, seconds: float) -> None:
    for line in _sums(story, seconds):
        console.print(line, highlight=False, markup=False)
    for fault in story.faults:
        console.print(f"[red]did not hold:[/] {escape(fault)}", highlight=False)
    if not story.faults:
        console.print("[green]the story held[/]")


def _sums(story: Story, seconds: float) -> Iterator[str]:
    total, failed, back = story.total, story.failures, story.taken_back_seconds
    p50, p99 = (_milliseconds(total.percentile(share) * 1000) for share in (0.5, 0.99))
    yield f"{total.requests} requests in {seconds:.0f} s, p50 {p50}, p99 {p99}"
    yield f"failed for no reason of the story: {len(failed.others)}"
    if back is not None:
        yield (
            f"answered 500 by the new service at {story.trial:.0%}: {len(failed.fault)}; it got "
            f"its last request {_milliseconds(back * 1000)} after the first bad answer"
        )
    yield f"died with the new service when it was killed: {len(failed.killed)}"
    yield f"connections closed: {total.closes}"
    if story.proof is not None:
        found = story.proof
        yield f"found before any user saw it: {found.candidate} instead of {found.primary}"


def _as_document(story: Story, report: Path) -> dict[str, object]:
    failed, back = story.failures, story.taken_back_seconds
    return {
        "held": not story.faults,
        "faults": story.faults,
        "requests": story.total.requests,
        "failures": {
            "unexplained": len(failed.others),
            "fault": len(failed.fault),
            "killed": len(failed.killed),
        },
        "closes": story.total.closes,
        "taken_back_seconds": None if back is None else round(back, 3),
        "report": str(report),
        "found": None if story.proof is None else asdict(story.proof),
        "chapters": [_chapter(each, story.began) for each in story.following.chapters],
    }


def _chapter(chapter: Chapter, began: float) -> dict[str, object]:
    report, moved = chapter.report, chapter.moved_ms
    return {
        "title": chapter.title,
        "after_seconds": round(chapter.decided - began, 2),
        "requests": report.requests,
        "failures": report.failures,
        "share": round(chapter.part, 4),
        "p50_ms": round(report.percentile(0.5) * 1000, 2),
        "p99_ms": round(report.percentile(0.99) * 1000, 2),
        "moved_ms": None if moved is None else round(moved, 1),
    }
