"""A control plane reduced to its xDS server and its supervisor, for tests that kill it.

    python supervise.py FOLDER PORT BACKEND_PORT

Prints the supervisor's statistics as JSON once Envoy is ready, then obeys `stop` or `detach`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

from e2e.envoy.world import GROUP, binary, snapshot, xds_for
from moreton.envoy.supervisor import EnvoySupervisor


async def main(folder: Path, port: int, backend: int) -> None:
    supervisor = EnvoySupervisor(
        folder, binary=binary(), group=GROUP, concurrency=1, drain_time=timedelta(seconds=3)
    )
    async with xds_for(supervisor, snapshot(port, backend)):
        await supervisor.start()
        await supervisor.wait_ready()
        print(json.dumps(asdict(supervisor.statistics())), flush=True)
        word = await asyncio.to_thread(sys.stdin.readline)
        await (supervisor.detach() if word.strip() == "detach" else supervisor.stop())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
