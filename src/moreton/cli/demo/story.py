"""The story that the demonstration tells, chapter by chapter, and what must hold in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from moreton.cli.demo.stage import Stage
from moreton.testing.load import LoadReport, Sample, SteadyLoad

PATH = "/catalogue/figs-in-winter_3/"
RATE = 25.0
OLD, NEW = "shop", "catalogue"
_CONNECTIONS = 8
_FULL_SHARE_MIN = 0.95  # of a chapter at 100 %: its first requests were decided before


@dataclass(slots=True)
class Chapter:
    """One decision, and what the users saw until the next."""

    title: str
    seconds: float
    act: Callable[[], Awaitable[None]] | None = None
    percent: int | None = None  # the share that the new service gets from here on
    awaits: str | None = None  # whose first answer is timed
    may_fail: bool = False
    report: LoadReport = field(default_factory=LoadReport)
    acted_ms: float | None = None  # how long the decision itself took
    first_ms: float | None = None  # from the decision to the first answer of `awaits`

    @property
    def share(self) -> float:
        """The share of the answers that the new service gave."""
        return self.report.labels[NEW] / max(1, self.report.requests)


class Story:
    """Tells itself on a *stage*; *show* is called whenever there is something new to see."""

    def __init__(self, stage: Stage, show: Callable[[Story], None]) -> None:
        self.chapters: list[Chapter] = []
        self.total = LoadReport()
        self.faults: list[str] = []
        self._stage = stage
        self._show = show
        self._decided = 0.0
        self._plan = [
            Chapter("the monolith alone", 4),
            Chapter("5 % to the new service", 8, percent=5, awaits=NEW),
            Chapter("25 %", 6, percent=25),
            # Requests that are in the service at that moment die with it; no others may.
            Chapter("the new service is killed", 5, act=stage.kill_service, may_fail=True),
            Chapter("back to 0 %", 3, percent=0, awaits=OLD),
            Chapter("it is started again", 1, act=stage.start_service),
            Chapter("25 % once more", 4, percent=25, awaits=NEW),
            Chapter("the control plane is killed", 4, act=stage.kill_control_plane),
            Chapter("and started again", 3, act=stage.start_control_plane),
            Chapter("100 %", 6, percent=100, awaits=NEW),
            Chapter("everything taken back", 4, percent=0, awaits=OLD),
        ]

    async def tell(self) -> None:
        """All chapters under one load; `faults` says afterwards what did not hold."""
        load = SteadyLoad(
            f"http://{self._stage.address}{PATH}", rate=RATE, connections=_CONNECTIONS
        )
        load.on_sample = self._count
        self.chapters.append(self._plan[0])
        async with load:
            for chapter in self._plan:
                await self._tell(chapter)
        self.total = load.report
        self._judge()

    async def _tell(self, chapter: Chapter) -> None:
        self._decided = time.perf_counter()
        if chapter is not self.chapters[-1]:
            self.chapters.append(chapter)
        if chapter.percent is not None:
            await self._stage.set_weights({OLD: 100 - chapter.percent, NEW: chapter.percent})
        elif chapter.act is not None:
            await chapter.act()
        if chapter.percent is not None or chapter.act is not None:
            chapter.acted_ms = (time.perf_counter() - self._decided) * 1000
        self._show(self)
        await asyncio.sleep(chapter.seconds)

    def _count(self, sample: Sample) -> None:
        chapter = self.chapters[-1]
        chapter.report.add(sample)
        answered = sample.due + sample.seconds
        if chapter.awaits == sample.label and chapter.first_ms is None and answered > self._decided:
            chapter.first_ms = (answered - self._decided) * 1000
        self._show(self)

    def _judge(self) -> None:
        for chapter in self.chapters:
            failures = chapter.report.failures
            if failures > (_CONNECTIONS if chapter.may_fail else 0):
                outcomes = dict(chapter.report.outcomes)
                self.faults.append(f"{failures} requests failed in {chapter.title!r}: {outcomes}")
            if chapter.awaits is not None and chapter.first_ms is None:
                self.faults.append(f"{chapter.awaits} never answered in {chapter.title!r}")
        full = next(chapter for chapter in self.chapters if chapter.percent == 100)
        if full.share < _FULL_SHARE_MIN:
            self.faults.append(
                f"at 100 % only {full.share:.0%} of the answers were the new service's"
            )
        if self.total.closes:
            self.faults.append(f"{self.total.closes} kept-alive connections were closed")
