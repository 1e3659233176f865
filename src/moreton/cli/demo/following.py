"""The migration's own history, as the chapters of the story."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from moreton.cli.demo.chapters import Chapter, answered
from moreton.cli.demo.stage import MIGRATION, Stage
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.testing.load import Sample

_LOOK_SECONDS = 0.2
_PATIENCE_SECONDS = 90.0
_TITLES = {
    "started": "copies only",
    "resumed": "copies only",
    "rolled back": "taken back by itself",
}


class StoryBroken(MoretonError):
    """Something that the story tells of did not happen."""

    code = "demo-story-broken"
    retry = RetryAdvice.NOW


class Following:
    """Keeps *chapters* by what happens to the migration, and by what the story does.

    Each sample belongs to the chapter in which its answer came.
    """

    def __init__(self, stage: Stage) -> None:
        self.chapters: list[Chapter] = []
        self.phase = "planned"
        self.reason = ""
        self._stage = stage
        self._known = 0
        self._share = 0.0
        self._stage_name = ""

    def begin(self, title: str, decided: float | None = None, share: float | None = None) -> None:
        """A chapter begins, now or at the moment *decided*; what came since belongs to it."""
        chapter = Chapter(title, decided or time.perf_counter(), share, self._share)
        if share is not None:
            self._share = share
        if self.chapters:
            late = self.chapters[-1].samples
            chapter.samples = [one for one in late if answered(one) >= chapter.decided]
            self.chapters[-1].samples = [one for one in late if answered(one) < chapter.decided]
        self.chapters.append(chapter)

    def add(self, sample: Sample) -> None:
        """Somebody was answered."""
        self.chapters[-1].samples.append(sample)

    async def run(self) -> None:
        """Follow, until cancelled; while nobody answers, nothing is known."""
        while True:
            await self._look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Return once *condition* holds. Raises `StoryBroken`."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < end:
            if condition():
                return
            await asyncio.sleep(_LOOK_SECONDS / 2)
        found = await self._now()
        gates = [] if found is None else [each["why"] for each in found["gates"]]
        raise StoryBroken(
            f"{what} did not happen within {_PATIENCE_SECONDS:.0f} s, so the rest is not told: the "
            f"migration is {self.phase}, {'; '.join(gates) or 'its gates say nothing'}; try again "
            "on a machine with less to do"
        )

    async def until_plan_differs(self) -> None:
        """Return once the control plane read an edited plan; it counts from the next start."""
        end = time.monotonic() + _PATIENCE_SECONDS
        while not (found := await self._now()) or not found["differs"]:
            if time.monotonic() > end:
                raise StoryBroken(
                    f"the edit of moreton.yaml was not read within {_PATIENCE_SECONDS:.0f} s, so "
                    f"the rest is not told; see {self._stage.folder}/up.log, run with --stay"
                )
            await asyncio.sleep(_LOOK_SECONDS / 2)

    async def until_new_answers(self) -> None:
        """Return once the new service answered somebody in this chapter. Raises `StoryBroken`."""
        await self.until(lambda: self.chapters[-1].part > 0, "an answer of the new service")

    def is_at(self, phase: str, share: float) -> bool:
        """Whether the migration is in *phase*, and the new service gets *share*."""
        return self.phase == phase and self._share == share

    async def _now(self) -> Any:
        return await self._stage.get(f"/v1/migrations/{MIGRATION}")

    async def _look(self) -> None:
        entries = await self._stage.get(f"/v1/migrations/{MIGRATION}/history")
        now = time.perf_counter() - time.time()
        for entry in entries or ():
            if entry["number"] > self._known:
                self._known = entry["number"]
                self._take(entry, now + datetime.fromisoformat(entry["when"]).timestamp())

    def _take(self, entry: dict[str, Any], decided: float) -> None:
        what, stage = entry["what"], entry["stage"]
        done = stage == self._stage_name and what == "went on"
        self._stage_name = stage
        done = done or what == "done"
        self.phase = "done" if done else "rolled-back" if what == "rolled back" else "running"
        self.reason = entry["because"]
        title = "done" if done else _TITLES.get(what) or stage.replace("%", " %")
        changed = entry["share"] if entry["share"] != self._share else None
        self.begin(title, decided, changed)
