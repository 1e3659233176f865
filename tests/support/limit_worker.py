"""A process that asks a shared limiter: `limit_worker.py PATH RATE CALLS`; prints what it got."""

from __future__ import annotations

import sys

from moreton.ratelimit.core.gcra import Gcra
from moreton.ratelimit.shared import SharedLimiter


def main() -> None:
    path, rate, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    limiter = SharedLimiter(path, Gcra(rate), keys_max=64)
    print("ready", flush=True)
    sys.stdin.readline()
    print(sum(limiter.allow("ada") for _ in range(calls)), flush=True)


if __name__ == "__main__":
    main()
