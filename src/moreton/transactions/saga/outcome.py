"""How a saga ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from moreton.transactions.saga.core.events import Status
from moreton.transactions.saga.definition import Step

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Completed, compensated, or parked for a person; *reason* says why it is not completed.

    `outcome[reserve]` is what the step `reserve` returned. True if the saga completed.
    """

    id: str
    status: Status
    reason: str = ""
    _results: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __bool__(self) -> bool:
        return self.status is Status.COMPLETED

    def __getitem__(self, step: Step[T]) -> T:
        """What *step* returned; `KeyError` when it was not done."""
        value: Any = step.codec.decode(self._results[step.name])
        return value  # type: ignore[no-any-return]
