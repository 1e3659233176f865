"""A schedule as code gives it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from moreton.kernel.arguments import check_duration, check_kind, check_whole
from moreton.transactions.saga.definition import Saga
from moreton.transactions.saga.queues.queue import Queue
from moreton.transactions.saga.schedules.cron import Cron
from moreton.transactions.saga.schedules.rules import Every

CATCH_UP_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """Begins *saga* whenever *when* says, under the id `name@time`.

    *input*: of each; a function is handed the due time and returns it. *catch_up*: how many of the
    due times that passed while no engine ran are made up for, the newest ones; a due time counts as
    passed after *grace*. *overlap*: begin also while the one before has not ended; else that due
    time is left out. *priority*, *queue*: as in `Sagas.start`.
    """

    name: str
    saga: Saga
    when: Cron | Every
    input: object = None
    catch_up: int = 0
    grace: timedelta = timedelta(minutes=1)
    overlap: bool = True
    priority: int = 0
    queue: Queue | None = None

    def __post_init__(self) -> None:
        check_kind("name", self.name, str)
        check_kind("saga", self.saga, Saga, "what `Saga(...)` made")
        check_whole("catch_up", self.catch_up, 0, CATCH_UP_MAX)
        check_duration("grace", self.grace)
        if self.queue is not None:
            check_kind("queue", self.queue, Queue)
        if not self.name or "@" in self.name:
            raise ValueError(f"name is {self.name!r}: give some text without an @")
        if not isinstance(self.when, Cron | Every):
            raise TypeError(
                f'when is {self.when!r}: give Cron("0 3 * * *") or Every(timedelta(minutes=5))'
            )
