"""A node of one, that proposes as fast as it can and tells what was answered, until it is killed.

Forked for each order with its `folder` and an `ear`. It says: `opened COUNT` commands were there;
`begin NUMBER` before a proposal, `done NUMBER` after its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from moreton.consensus.core.messages import InstallSnapshot, Message, NodeId
from moreton.consensus.core.state import Settings
from moreton.consensus.disk import LogDisk
from moreton.consensus.host import HostSettings, RaftHost
from moreton.consensus.ports import Arrivals
from support.forking import Mouth, serve

PROPOSERS = 8
# Small, so that segments roll over and snapshots are written often, and processes die meanwhile.
SEGMENT_BYTES = 20_000
BOUNDS = HostSettings(snapshot_entries=15)
QUICK = Settings(
    election_timeout=timedelta(milliseconds=20),
    heartbeat_interval=timedelta(milliseconds=2),
    kept_entries=5,
)
FILLERS = [b"." * length for length in (0, 10, 300, 5000)]


class Numbers:
    """Remembers every number it was given, in order; counts those that came twice."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.twice = 0

    def apply(self, index: int, command: bytes) -> object:
        number = int(command.split(b" ")[0])
        self.twice += number in self.numbers
        self.numbers[number] = index
        return number

    def freeze(self) -> Callable[[], bytes]:
        held, twice = sorted(self.numbers), self.twice
        return lambda: " ".join(map(str, [twice, *held])).encode()

    def restore(self, snapshot: bytes) -> None:
        twice, *numbers = map(int, snapshot.split())
        self.twice, self.numbers = twice, dict.fromkeys(numbers, 0)


class Alone:
    """The transport of a node that has nobody to talk to."""

    async def start(self, arrivals: Arrivals) -> None:
        pass

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        pass

    def send_nowait(self, message: Message) -> None:
        raise AssertionError(message)

    def send_snapshot_nowait(self, message: InstallSnapshot, data: bytes) -> None:
        raise AssertionError(message, len(data))

    async def ask(self, target: NodeId, question: bytes) -> bytes:
        raise AssertionError(target, question)

    async def close(self) -> None:
        pass


def host_of(folder: Path, numbers: Numbers) -> RaftHost:
    return RaftHost(
        1,
        disk=LogDisk(folder, cluster="killed", node=1, segment_bytes=SEGMENT_BYTES),
        transport=Alone(),
        machine=numbers,
        addresses={1: "127.0.0.1:1"},
        settings=QUICK,
        bounds=BOUNDS,
    )


async def main(folder: Path, say: Callable[[str], None]) -> None:
    numbers = Numbers()
    host = host_of(folder, numbers)
    await host.start()
    await host.read_barrier()
    say(f"opened {len(numbers.numbers)}")
    first = max(numbers.numbers, default=0) + 1

    async def propose(number: int) -> None:
        while True:
            say(f"begin {number}")
            await host.propose(b"%d %s" % (number, FILLERS[number % len(FILLERS)]))
            say(f"done {number}")
            number += PROPOSERS

    await asyncio.gather(*(propose(first + one) for one in range(PROPOSERS)))


def work(order: Mapping[str, Any]) -> None:
    asyncio.run(main(Path(order["folder"]), Mouth(order["ear"]).say))


if __name__ == "__main__":
    serve(work)
