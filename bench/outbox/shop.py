"""Who writes orders: *count* of them, *group* to a transaction, *rate* a second (0: no limit)."""

from __future__ import annotations

import os
import sys
import time
from threading import Thread

import psycopg

from bench.outbox.schema import OUTBOX, order

INSERT = "INSERT INTO orders SELECT n, 10 FROM generate_series(%s::bigint, %s::bigint) AS n"
# As a web server has: commits wait for the disk together.
PROCESSES, WRITERS = 2, 8


def main(database: str, first: str, count: str, group: str, rate: str) -> None:
    numbers = range(int(first), int(first) + int(count))
    groups = [numbers[done : done + int(group)] for done in range(0, int(count), int(group))]
    start = time.monotonic()
    child = os.fork()
    mine = range(0 if child else 1, WRITERS, PROCESSES)
    writers = [
        Thread(target=write, args=(database, groups[each::WRITERS], each, start, float(rate)))
        for each in mine
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    if child:
        _, status = os.waitpid(child, 0)
        sys.exit(os.waitstatus_to_exitcode(status))


def write(database: str, groups: list[range], place: int, start: float, rate: float) -> None:
    """Write *groups*, each when its turn is."""
    size = len(groups[0]) if groups else 0
    with psycopg.connect(database) as connection:
        for turn, numbers in enumerate(groups):
            if rate:
                due = start + (place + turn * WRITERS) * size / rate
                time.sleep(max(0.0, due - time.monotonic()))
            connection.execute(INSERT, (numbers[0], numbers[-1]))
            OUTBOX.add_many(connection, [order(n) for n in numbers])
            connection.commit()


if __name__ == "__main__":
    main(*sys.argv[1:])
