"""Who writes orders: *count* of them, *group* to a transaction, *rate* a second (0: no limit)."""

from __future__ import annotations

import os
import sys
import time
from threading import Thread

import psycopg

from bench.outbox.schema import OUTBOX

INSERT = "INSERT INTO orders SELECT * FROM unnest(%s::bigint[], %s::bigint[])"
INSERT_ONE = "INSERT INTO orders VALUES (%s, %s)"
CUSTOMERS = 1000
# As a web server has: commits wait for the disk together.
PROCESSES, WRITERS = 2, 8


def main(database: str, first: str, count: str, group: str, rate: str) -> None:
    groups = [
        range(int(first) + done, int(first) + min(done + int(group), int(count)))
        for done in range(0, int(count), int(group))
    ]
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
    written = place * len(groups[0]) if groups else 0
    with psycopg.connect(database, autocommit=True) as connection:
        for numbers in groups:
            if rate:
                time.sleep(max(0.0, start + written / rate - time.monotonic()))
            written += WRITERS * len(numbers)
            with connection.transaction():
                if len(numbers) == 1:
                    connection.execute(INSERT_ONE, (numbers[0], 10))
                else:
                    connection.execute(INSERT, (list(numbers), [10] * len(numbers)))
                OUTBOX.add_many(
                    connection,
                    [
                        OUTBOX.event(
                            "order.placed",
                            {"n": n, "amount": 10, "article": "umbrella", "street": "x" * 100},
                            subject=f"customer-{n % CUSTOMERS}",
                        )
                        for n in numbers
                    ],
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
