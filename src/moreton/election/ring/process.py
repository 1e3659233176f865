"""The program of one member as an operating-system process; `processes` starts it.

It speaks lines of JSON with whoever started it: its address and its decisions on standard output,
the ring and the answers to its claims on standard input. It ends when its standard input does, so
that none outlives the one who started it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.frames import Decision, Timings
from moreton.election.ring.core.ring import Uid
from moreton.election.ring.host import RingMember
from moreton.election.ring.links import Address
from moreton.election.ring.wire import from_decision, from_uid, to_decision, to_uid
from moreton.kernel.quantities import parse_duration

_LINE_BYTES_MAX = 1024 * 1024


class PipeClaims:
    """Claims with the one who started this process, and who has the store."""

    def __init__(self) -> None:
        self._asked: dict[int, asyncio.Future[Decision]] = {}
        self._number = 0

    async def claim(self, uid: Uid, epoch: int) -> Decision:
        """As `Claims.claim`."""
        self._number += 1
        answer: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._asked[self._number] = answer
        say({"claim": {"id": self._number, "leader": from_uid(uid), "epoch": epoch}})
        return await answer

    def answered(self, number: int, holder: Decision) -> None:
        """*holder* leads, after claim *number*."""
        answer = self._asked.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(holder)


class Program:
    """One member and the token with which it led last."""

    def __init__(self, uid: Uid, settings: dict[str, Any]) -> None:
        self.claims = PipeClaims()
        self.token: int | None = None
        timings = Timings(
            heartbeat=parse_duration(settings["heartbeat"]),
            acknowledge=parse_duration(settings["acknowledge"]),
            election=parse_duration(settings["election"]),
        )
        self.member = RingMember(
            settings["name"],
            uid,
            claims=self.claims,
            algorithm=Algorithm(settings["algorithm"]),
            timings=timings,
            on_follow=self._follow,
        )

    def told(self, line: dict[str, Any]) -> None:
        """Do what *line* says."""
        match line:
            case {"ring": ring, "begin": begin}:
                members = {to_uid(uid): Address(host, port) for uid, host, port in ring}
                self.member.join(members, begin=begin)
            case {"claimed": number, "holder": holder}:
                decision = to_decision(holder)
                assert decision is not None
                self.claims.answered(number, decision)
            case {"write": value}:
                # As a leader that stalled after it had looked at its token would.
                say({"write": {"token": self.token, "value": value}})
            case _:
                message = f"{line!r} says nothing that a member knows"
                raise ValueError(message)

    def _follow(self, decision: Decision) -> None:
        if decision.leader == self.member.uid:
            self.token = decision.token
        say({"follows": from_decision(decision)})


def say(document: dict[str, Any]) -> None:
    """*document* as one line on standard output."""
    print(json.dumps(document), flush=True)  # noqa: T201 - how this program speaks


async def main() -> None:
    """Run one member until standard input ends."""
    reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    settings = json.loads(await reader.readline())
    program = Program(to_uid(settings["uid"]), settings)
    async with program.member as member:
        say({"address": list(member.address)})
        while line := await reader.readline():
            program.told(json.loads(line))


if __name__ == "__main__":
    asyncio.run(main())
