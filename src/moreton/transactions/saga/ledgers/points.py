"""The failpoints of a ledger: before and after each kind of durable write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moreton.transactions.failpoints import Failpoint
from moreton.transactions.saga.core.rows import KINDS
from moreton.transactions.saga.ledgers.port import Begin, Write

_SINGLE = (
    "begin", "rest", "claim", "release", "took-over", "interject", "signal", "define", "forget",
    "schedule", "fire", "migrate", "queue", "take",
)  # fmt: skip


class Points:
    """Those of the ledger called *name*; each is a point of the process's failpoints."""

    def __init__(self, name: str, *more: str) -> None:
        self._points = {
            kind: (Failpoint(f"{name}.{kind}.before"), Failpoint(f"{name}.{kind}.after"))
            for kind in (*_SINGLE, *KINDS, *more)
            if kind not in {"decided", "migrated"}  # parts of `interject` and `migrate`
        }

    def before(self, kind: str) -> None:
        """Just before the commit."""
        self._points[kind][0]()

    def after(self, kind: str) -> None:
        """Just after the commit, before anybody is told."""
        self._points[kind][1]()

    def before_all(self, batch: Sequence[Write]) -> None:
        """`before`, for each kind in *batch*."""
        for kind in _kinds(batch):
            self._points[kind][0]()

    def after_all(self, batch: Sequence[Write]) -> None:
        """`after`, for each kind in *batch*."""
        for kind in _kinds(batch):
            self._points[kind][1]()


def _kinds(batch: Sequence[Write]) -> Iterable[str]:
    for write in batch:
        if isinstance(write, Begin):
            yield "begin"
        elif write.settle is not None:
            yield "rest"
        for row in write.rows:
            yield row.kind
