"""The story as people see it: a table that grows, and what it comes to."""

from __future__ import annotations

import json
import time

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from moreton.cli.demo.stage import Stage
from moreton.cli.demo.story import PATH, Chapter, Story

_REFRESH_PER_SECOND = 8
_WIDTH = 110  # where there is no terminal to ask
STORY_BROKEN = 1  # the exit status when the story did not hold


async def show(*, stay: bool, as_json: bool) -> int:
    """Tell the whole story; the exit status. With *stay* everything goes on until Ctrl-C."""
    console = Console(stderr=True)
    if not console.is_terminal:
        console = Console(stderr=True, width=_WIDTH)
    started = time.monotonic()
    stage = Stage.prepare()
    try:
        with console.status("starting the shop, Envoy and the catalogue service"):
            await stage.start_control_plane()
            await stage.start_service()
        console.print(f"the shop is at http://{stage.address}/catalogue/", highlight=False)
        with Live(console=console, refresh_per_second=_REFRESH_PER_SECOND) as live:
            story = Story(stage, lambda story: live.update(_table(story)))
            await story.tell()
            live.update(_table(story))
        _say(console, story, time.monotonic() - started)
        if as_json:
            typer.echo(json.dumps(_as_document(story)))
        if stay:
            await _stay(console, stage)
    finally:
        await stage.stop()
    return STORY_BROKEN if story.faults else 0


async def _stay(console: Console, stage: Stage) -> None:
    console.print(
        f"everything goes on in {stage.folder}; for example:\n"
        f"  cd {stage.folder} && moreton weights products shop=50 catalogue=50\n"
        f"  curl -si http://{stage.address}{PATH} | grep x-served-by\n"
        "Ctrl-C ends it",
        highlight=False,
    )
    assert stage.control_plane is not None
    await stage.control_plane.wait()


def _table(story: Story) -> Table:
    table = Table(title="one route of a real shop, moved under load", expand=False)
    table.add_column("chapter", no_wrap=True)
    for heading in ("requests", "failed", "by new", "p50", "p99", "in force", "first answer"):
        table.add_column(heading, justify="right")
    for chapter in story.chapters:
        report = chapter.report
        table.add_row(
            chapter.title,
            str(report.requests),
            f"[red]{report.failures}[/]" if report.failures else "0",
            f"{chapter.share:.0%}",
            _milliseconds(report.percentile(0.5) * 1000),
            _milliseconds(report.percentile(0.99) * 1000),
            _milliseconds(chapter.acted_ms),
            _milliseconds(chapter.first_ms),
        )
    return table


def _milliseconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def _say(console: Console, story: Story, seconds: float) -> None:
    total = story.total
    console.print(
        f"{total.requests} requests, {total.failures} failed, {total.resets} connections reset, "
        f"p50 {_milliseconds(total.percentile(0.5) * 1000)}, "
        f"p99 {_milliseconds(total.percentile(0.99) * 1000)}, {seconds:.0f} s in all",
        highlight=False,
    )
    for fault in story.faults:
        console.print(f"[red]did not hold:[/] {fault}", highlight=False)
    if not story.faults:
        console.print("[green]the story held[/]")


def _as_document(story: Story) -> dict[str, object]:
    return {
        "held": not story.faults,
        "faults": story.faults,
        "requests": story.total.requests,
        "failures": story.total.failures,
        "resets": story.total.resets,
        "chapters": [_chapter(chapter) for chapter in story.chapters],
    }


def _chapter(chapter: Chapter) -> dict[str, object]:
    report = chapter.report
    return {
        "title": chapter.title,
        "requests": report.requests,
        "failures": report.failures,
        "share": round(chapter.share, 4),
        "p50_ms": round(report.percentile(0.5) * 1000, 2),
        "p99_ms": round(report.percentile(0.99) * 1000, 2),
        "in_force_ms": chapter.acted_ms,
        "first_answer_ms": chapter.first_ms,
    }
