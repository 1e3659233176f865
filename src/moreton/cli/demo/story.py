"""The story that the demonstration tells, act by act, and what must hold in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from rich.markup import escape

from moreton.cli.demo import mishaps
from moreton.cli.demo.chapters import Failures, Span, failures, taken_back_seconds
from moreton.cli.demo.following import Following, StoryBroken
from moreton.cli.demo.proof import Proof, proof_of
from moreton.cli.demo.stage import MIGRATION, Stage
from moreton.testing.load import LoadReport, Sample, SteadyLoad

# As many requests a second as leave the monolith some of its time, whatever machine this is.
_RATE_MIN, _RATE_MAX, _RATE_SHORT = 15.0, 20.0, 10.0
_BUSY = 0.8
_CONNECTIONS = 8
_PAGES = 16
_DEAD_SECONDS = 1.5
_DONE_SECONDS = 0.7
_FULL_SHARE_MIN = 0.95  # a few requests are on their way while the weights travel
# Three seconds on a machine with nothing else to do.
_TAKEN_BACK_SECONDS_MAX = 10.0
_NEVER = Span(0.0, 0.0)


class Story:
    """Tells itself on a *stage*; what it does is told to *say*, a line each.

    The migration's report is written to the folder *report*. A *short* story kills nothing.
    """

    def __init__(
        self, stage: Stage, say: Callable[[str], None], *, report: Path, short: bool
    ) -> None:
        self.total = LoadReport()
        self.faults: list[str] = []
        self.proof: Proof | None = None
        self.following = Following(stage)
        self._stage = stage
        self._say = say
        self._report = report
        self._short = short
        self.trial = 0.5 if short else 0.25  # the share at which things go wrong
        self._fault = self._kill = _NEVER

    @property
    def began(self) -> float:
        """When the load did, in seconds of `time.perf_counter`."""
        return self.following.chapters[0].decided

    @property
    def failures(self) -> Failures:
        """All requests that failed, by what the story did."""
        return failures(self._samples(), self._fault, self._kill)

    @property
    def taken_back_seconds(self) -> float | None:
        """From the first bad answer to the last request on the bad side."""
        return taken_back_seconds(self._samples(), self._fault)

    async def tell(self) -> None:
        """All acts under one load; `faults` says afterwards what did not hold."""
        url = f"http://{self._stage.address}/"
        pages = self._stage.pages(_PAGES)
        seconds = await self._stage.page_seconds(pages)
        rate = min(_RATE_MAX, max(_RATE_MIN, _BUSY / seconds))
        rate = _RATE_SHORT if self._short else rate
        self._say(f"a page takes it {seconds * 1000:.0f} ms: {rate:.0f} requests/s from now on")
        load = SteadyLoad(url, rate=rate, connections=_CONNECTIONS, paths=pages)
        load.on_sample = self.following.add
        self.following.begin("the monolith alone")
        async with load:
            follower = asyncio.create_task(self.following.run())
            try:
                await self._acts()
            except StoryBroken as broken:
                self.faults.append(str(broken))
            finally:
                follower.cancel()
        self.total = load.report
        self._judge()

    async def _acts(self) -> None:
        await self._command("migrate", "effects")
        self._say("a product page writes that it was seen: once more does no harm, so it is copied")
        await self._compare()
        await self._mend()
        await self._command("migrate", "resume", MIGRATION)
        await self._fail()
        if self._short:
            await self._command("migrate", "resume", MIGRATION)
        else:
            await self._plan_carefully()
            await self._command("migrate", "start", MIGRATION)
            await self._until_trial()
            await self._kill_service()
            await self._kill_control_plane()
        await self.following.until(lambda: self.following.is_at("done", 1.0), "its end")
        await asyncio.sleep(_DONE_SECONDS)
        for file in ("report.md", "report.html"):
            await self._command("migrate", "report", MIGRATION, "--out", str(self._report / file))

    async def _compare(self) -> None:
        """The new service has a bug, which copies of requests show before any user sees it."""
        await self._command("migrate", "start", MIGRATION)
        await self._until_taken_back()
        self._say(f"taken back by itself: {self.following.reason}")
        self.proof = proof_of(self._stage.folder)
        if self.proof is None:
            raise StoryBroken(
                "the wrong price was not found by comparing, so that there is nothing to mend: see "
                f"{self._stage.folder}/up.log; run it with --stay"
            )
        await self._command("migrate", "diffs")
        await self._command("migrate", "diffs", "--show", str(self.proof.pair), until="primary: ")

    async def _mend(self) -> None:
        assert self.proof is not None
        self.following.begin("the new service is mended")
        self._say("its code cuts the price off where it has to round it; the fix:")
        self._say(f"  [red]- {mishaps.WRONG}[/]")
        self._say(f"  [green]+ {mishaps.RIGHT}[/]")
        await self._stage.stop_service()
        mishaps.mend_bug(self._stage.folder)
        await self._stage.start_service()
        (compared,) = await self._stage.get("/v1/comparisons")
        at = f"http://{compared['candidates'][0]}"
        replay = ("migrate", "diffs", "--replay", str(self.proof.pair), "--at", at)
        if "the same now" not in await self._command(*replay):
            self.faults.append("the mended service still says something else")

    async def _fail(self) -> None:
        """A fault that no comparison could foresee, in the middle of the way."""
        await self._until_trial()
        self._fault = Span(time.perf_counter(), float("inf"))
        self.following.begin("its database is gone: it answers 500")
        mishaps.lose_database(self._stage.folder)
        await self._until_taken_back()
        self._say(f"taken back by itself: {self.following.reason}")
        await asyncio.sleep(_DONE_SECONDS)
        self._fault = Span(self._fault.begin, time.perf_counter())
        mishaps.find_database(self._stage.folder)

    async def _plan_carefully(self) -> None:
        """A smaller step first: the file is edited, and the control plane takes it."""
        before = mishaps.plan_stages(self._stage.folder, mishaps.CAREFUL)
        self._say("that was hasty; in moreton.yaml, which is read while it runs:")
        self._say(escape(f"  - {before}"))
        self._say(escape(f"  + {mishaps.CAREFUL}"))
        await self.following.until_plan_differs()

    async def _kill_service(self) -> None:
        """What is in it dies with it, and its share goes to the monolith."""
        begin = time.perf_counter()
        self._kill = Span(begin, float("inf"))
        self.following.begin("the new service is killed (SIGKILL)")
        await self._stage.kill_service()
        await asyncio.sleep(_DEAD_SECONDS)
        self._kill = Span(begin, time.perf_counter())
        self.following.begin("it is started again")
        await self._stage.start_service()

    async def _kill_control_plane(self) -> None:
        """Nobody notices, and the migration goes on where it was."""
        self.following.begin("the control plane is killed (SIGKILL)")
        await self._stage.kill_control_plane()
        await asyncio.sleep(_DEAD_SECONDS)
        self.following.begin("and started again")
        await self._stage.start_control_plane()

    async def _until_trial(self) -> None:
        """The new service answers the share of requests at which things go wrong."""
        here = self.following.is_at
        await self.following.until(lambda: here("running", self.trial), "the step to it")
        await self.following.until_new_answers()

    async def _until_taken_back(self) -> None:
        following = self.following
        await following.until(lambda: following.phase == "rolled-back", "the way back")

    async def _command(self, *arguments: str, until: str = "") -> str:
        """Run it for all to see; what it prints is shown up to the line that begins *until*."""
        told = await self._stage.command(*arguments)
        self._say(f"[bold]$ moreton {' '.join(arguments)}[/]")
        for line in told.splitlines():
            if until and line.startswith(until):
                break
            self._say(escape(line))
        return told

    def _judge(self) -> None:
        found, back = self.failures, self.taken_back_seconds
        if found.others:
            told = sorted({each.outcome for each in found.others})
            self.faults.append(f"{len(found.others)} requests failed for no reason: {told}")
        # Requests that are in the service at that moment die with it; no others may.
        if len(found.killed) > _CONNECTIONS:
            self.faults.append(f"{len(found.killed)} requests failed as the service was killed")
        if self._fault is not _NEVER and (back is None or back > _TAKEN_BACK_SECONDS_MAX):
            self.faults.append(f"the failing service was asked for {back} s more")
        if self.total.closes:
            self.faults.append(f"{self.total.closes} kept-alive connections were closed")
        full = [each for each in self.following.chapters if each.title == "100 %"]
        for chapter in full:
            if chapter.sent_part < _FULL_SHARE_MIN:
                self.faults.append(f"at 100 % the new service got only {chapter.sent_part:.0%}")
        if not full and not self.faults:
            self.faults.append("it never came to 100 %")

    def _samples(self) -> list[Sample]:
        return [one for chapter in self.following.chapters for one in chapter.samples]
