"""A queue as code gives it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from moreton.kernel.arguments import check_kind, check_whole
from moreton.kernel.quantities import Rate, parse_rate

# Each beginning within the rate's period is a row; so many are counted whenever one is taken.
RATE_COUNT_MAX = 10_000
PLACES_MAX = 1_000_000
NAME_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Queue:
    """A named queue of the log: at most *at_once* of its sagas are worked on over all engines.

    *per_engine*: at most so many by one engine. *rate*: at most so many begin in any window of its
    length, as `100/min` or `20/5min`; going on after a wait or a crash is no beginning. An engine
    takes from the queues that it is given. The limits are those of the engine that opened last.
    """

    name: str
    at_once: int | None = None
    per_engine: int | None = None
    rate: Rate | str | None = None

    def __post_init__(self) -> None:
        check_kind("name", self.name, str)
        if not self.name.strip():
            raise ValueError(f"name is {self.name!r}: a queue is found by it; give some text")
        if not self.name.isprintable() or len(self.name) > NAME_CHARS_MAX:
            raise ValueError(
                f"name is {self.name[:40]!r}: no database or terminal may be able to hold or show "
                f"it; give up to {NAME_CHARS_MAX} letters, digits and signs"
            )
        for name, places in (("at_once", self.at_once), ("per_engine", self.per_engine)):
            if places is not None:
                check_whole(name, places, 1, PLACES_MAX, "none would ever be taken" * (places == 0))
        if isinstance(self.rate, str):
            object.__setattr__(self, "rate", parse_rate(self.rate))
        if self.rate is not None:
            _check_rate(self.rate)

    @property
    def starts(self) -> int | None:
        """How many may begin in `period_micros`."""
        return int(self.rate.count) if isinstance(self.rate, Rate) else None

    @property
    def period_micros(self) -> int:
        """The length of the rate's window; 0 without a rate."""
        return self.rate.per // timedelta(microseconds=1) if isinstance(self.rate, Rate) else 0


def check_queues(queues: Iterable[Queue]) -> dict[str, Queue]:
    """*queues* by name; raises `ValueError` when two with other limits share one."""
    found: dict[str, Queue] = {}
    if not isinstance(queues, Iterable):
        raise TypeError(f"queues is {queues!r}: give a list of Queue")
    for queue in queues:
        check_kind("queues", queue, Queue, "a Queue in a list")
        if found.setdefault(queue.name, queue) != queue:
            raise ValueError(
                f'two queues are called "{queue.name}": which limits hold would be open; give one '
                "another name"
            )
    return found


def _check_rate(rate: object) -> None:
    if not isinstance(rate, Rate):
        raise TypeError(f'rate is {rate!r}: give text as "100/min", or a Rate')
    if rate.count != int(rate.count) or not 1 <= rate.count <= RATE_COUNT_MAX:
        raise ValueError(
            f"rate is {rate.count:g} in {rate.per}: give a whole number from 1 to "
            f"{RATE_COUNT_MAX:,}, and a shorter or longer time for it"
        )
