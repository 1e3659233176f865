"""An engine that comes up over sagas that wait."""

from __future__ import annotations

import json
import os
import sys
import time

from bench.processes import resident_mib
from bench.saga.workers.ours import sagas_of
from bench.saga.workers.serving import began
from moreton.transactions.saga import Sagas

_SAGAS = 1000


def main(url: str) -> None:
    start = time.perf_counter()
    with Sagas(url, *sagas_of(coroutines=False).values()):
        while len(began) < 3 * _SAGAS:
            time.sleep(0.001)
        rate = _SAGAS / (began[3 * _SAGAS - 1] - began[0])
        mib = resident_mib(os.getpid())
    print(json.dumps({"seconds": began[0] - start, "mib": mib, "rate": rate}))


if __name__ == "__main__":
    main(sys.argv[1])
