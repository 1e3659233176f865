"""Taking over from an Envoy that runs, without a lost connection.

The successor is started as a hot restart: it is given the listening sockets themselves, so that
what waits in their queues is not reset when the old one closes them. (Listening beside it with
SO_REUSEPORT and then closing lost about one new connection in 300 on a busy machine.) The old one
stops when the successor is ready: not before it has its whole configuration.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from moreton.envoy.admin import AdminClient, EnvoyDoesNotAnswer
from moreton.envoy.identity import Remembered, write_identity
from moreton.envoy.process.draining import drain
from moreton.envoy.process.ending import reap
from moreton.envoy.process.folder import EnvoyFolder
from moreton.envoy.process.launch import Launch, Lineage, lineage_of

# An Envoy opens its admin socket some 50 ms after it began; a busy machine takes longer.
_ANSWER_SECONDS_MAX = 3.0
_ANSWER_POLL_SECONDS = 0.02
_KILL_AFTER = timedelta(seconds=5)
_KILL_HUNG_AFTER = timedelta(seconds=1)
# The successor ends the old one by itself 1 s after the drain time; then we do.
_PATIENCE = timedelta(seconds=5)
_HANDS_OVER = "hands_over"


class Succession:
    """The Envoys of *folder* that another takes over from."""

    def __init__(self, folder: EnvoyFolder, drain_time: timedelta) -> None:
        self._folder = folder
        self._drain_time = drain_time
        self._old: list[Remembered] = []

    def load(self, current: Remembered | None) -> None:
        """Find what an earlier control plane left; *current* is the Envoy that was started last."""
        for each in self._folder.old():
            if current is not None and each.identity == current.identity:
                # The control plane ended before the successor began: it is not old at all.
                self._folder.old_file(each.identity.pid).unlink(missing_ok=True)
            else:
                self._old.append(each)

    def retiring(self) -> int:
        """How many old ones still run."""
        return sum(each.identity.is_alive() for each in self._old)

    async def keeps(self, current: Remembered, launch: Launch, admin: AdminClient) -> bool:
        """Whether *current* answers and is what *launch* would make; else it is noted as old."""
        answers = await _answers(current, admin)
        if answers and current.facts.get("fingerprint") == launch.fingerprint():
            return True
        await self._prepare(current, launch, admin, answers=answers)
        return False

    async def _prepare(
        self, current: Remembered, launch: Launch, admin: AdminClient, *, answers: bool
    ) -> None:
        if self._old and not await admin.is_ready():
            # It was to take over itself and never came to it; its predecessor still serves.
            await current.identity.end(_KILL_AFTER)
            reap(current.identity.pid)
            return
        pid = current.identity.pid
        facts = {**current.facts, _HANDS_OVER: "no", "admin": ""}
        if answers:
            if await self._can_hand_over(current, launch, admin):
                facts[_HANDS_OVER] = "hot"
            else:
                moved = self._folder.sockets / f"old-{pid}.sock"
                self._folder.admin_socket.replace(moved)
                facts["admin"] = str(moved)
        else:  # else the successor would be asked through the socket of the one that hangs
            self._folder.admin_socket.unlink(missing_ok=True)
        old = Remembered(current.identity, facts)
        write_identity(self._folder.old_file(pid), old.identity, facts)
        self._old.append(old)

    def next_lineage(self) -> Lineage | None:
        """The lineage with which the successor gets the sockets; `None` when it is on its own."""
        for each in reversed(self._old):
            lineage = lineage_of(each.facts)
            hot = each.facts.get(_HANDS_OVER) == "hot"
            if hot and lineage is not None and each.identity.is_alive():
                return lineage.successor()
        return None

    async def retire(self) -> None:
        """See the old ones off, now that their successor is ready."""
        await asyncio.gather(*(self._retire(each) for each in self._old))
        self._old.clear()

    async def end_now(self) -> None:
        """End the old ones without waiting for what they have."""
        await asyncio.gather(*(self._end(each) for each in self._old))
        self._old.clear()

    async def _retire(self, old: Remembered) -> None:
        if old.facts.get(_HANDS_OVER) == "hot":
            seconds = (self._drain_time + _PATIENCE).total_seconds()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await old.identity.wait_gone()
        elif old.facts.get("admin"):
            await drain(
                AdminClient(self._folder.sockets / f"old-{old.identity.pid}.sock"), self._drain_time
            )
        await self._end(old)

    async def _end(self, old: Remembered) -> None:
        pid = old.identity.pid
        hangs = old.facts.get(_HANDS_OVER) == "no" and not old.facts.get("admin")
        await old.identity.end(_KILL_HUNG_AFTER if hangs else _KILL_AFTER)
        reap(pid)
        self._folder.old_file(pid).unlink(missing_ok=True)
        (self._folder.sockets / f"old-{pid}.sock").unlink(missing_ok=True)

    async def _can_hand_over(self, current: Remembered, launch: Launch, admin: AdminClient) -> bool:
        lineage = lineage_of(current.facts)
        if lineage is None or current.facts.get("sockets") != str(launch.sockets):
            return False
        process = await asyncio.create_subprocess_exec(
            *(str(launch.binary), "--hot-restart-version"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,  # where Envoy says it
        )
        said, _ = await process.communicate()
        with contextlib.suppress(EnvoyDoesNotAnswer):
            return said.decode().strip() == await admin.hot_restart_version()
        return False


async def _answers(current: Remembered, admin: AdminClient) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            while current.identity.is_alive():
                if await admin.answers():
                    return True
                await asyncio.sleep(_ANSWER_POLL_SECONDS)
    return False
