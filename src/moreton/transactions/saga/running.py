"""What a step is handed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from moreton.transactions.barrier.call import Act, Call
from moreton.transactions.saga.definition import Saga, Step
from moreton.transactions.tracing import headers

T = TypeVar("T")
InputT = TypeVar("InputT")


class Run(Generic[InputT]):
    """The saga that a step is a part of: its input, and what earlier steps returned.

    `run[reserve]` is what the step `reserve` returned, as it was written down. *key* is the same
    for every attempt of this call, also after a crash: send it on, so that the other side can tell
    a repetition. *op* is `do` or `undo`; an undo finds the key of what it undoes in *do_key*.
    """

    __slots__ = ("_origin", "_results", "_saga", "attempt", "id", "input", "op", "step")

    def __init__(
        self, saga: Saga, saga_id: str, value: InputT, results: Mapping[str, str], *,
        step: str, op: str, attempt: int, origin: str = "",
    ) -> None:  # fmt: skip
        self._saga, self._results, self._origin = saga, results, origin or saga_id
        self.id, self.input, self.step, self.op, self.attempt = saga_id, value, step, op, attempt

    @property
    def saga(self) -> str:
        """The name of the saga's definition."""
        return self._saga.name

    @property
    def do_key(self) -> str:
        """The key under which the step was, or is, done; in a fork it may be another saga's."""
        return f"{self._origin}/{self.step}"

    @property
    def key(self) -> str:
        """The key of this call."""
        return self.do_key if self.op == "do" else f"{self.do_key}/undo"

    @property
    def headers(self) -> dict[str, str]:
        """The trace that this call is a part of, for what it sends on; empty without one."""
        return headers()

    def call(self, payload: object = None) -> Call:
        """What a participant's barrier is asked with, so that this takes effect once there.

        See `moreton.transactions.barrier`; `Call.as_document` can be sent.
        """
        return Call(self._origin, self.step, Act(self.op), payload, self.headers)

    def __getitem__(self, step: Step[T]) -> T:
        """What *step* returned; `KeyError` when it has not been done before this one."""
        text = self._results.get(step.name)
        if text is None:
            raise KeyError(
                f'step "{step.name}" of saga "{self.saga}" was not done before "{self.step}": it '
                "has no result; put it before, or ask `step in run`"
            )
        value: Any = step.codec.decode(text)
        return value  # type: ignore[no-any-return]

    def __contains__(self, step: Step[Any]) -> bool:
        return step.name in self._results

    def __repr__(self) -> str:
        return f"<run of {self.key}>"
