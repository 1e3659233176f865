"""Limiters whose states are cells here: what to do is a change of them, by the pure core."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from datetime import timedelta

from moreton.kernel.arguments import check_whole
from moreton.kernel.time import nanos_of
from moreton.ratelimit.core.decision import Decision, decide, owe, return_cost
from moreton.ratelimit.core.limit import Cells
from moreton.ratelimit.limiter import Keys, Limiter

_ZERO = timedelta(0)
Change = Callable[[Sequence[Cells], Sequence[int]], Decision]


class CellLimiter(Limiter):
    """Decides on the cells of each limit, which a subclass keeps and locks."""

    def decide(
        self, keys: Keys, cost: int = 1, *, patience: timedelta = _ZERO, share: float = 1.0
    ) -> Decision:
        """See `Limiter.decide`."""
        check_whole("cost", cost, 0)
        names = self._keys(keys)
        nanos = nanos_of(patience)
        return self._change(
            names,
            lambda states, nows: decide(
                self.limits, states, nows, cost, patience=nanos, share=share, keys=names
            ),
        )

    def charge(self, keys: Keys, cost: int) -> Decision:
        """See `Limiter.charge`."""
        check_whole("cost", cost, 0)
        names = self._keys(keys)
        return self._change(names, lambda states, nows: owe(self.limits, states, nows, cost, names))

    def give_back(self, decision: Decision, cost: int | None = None) -> None:
        """See `Limiter.give_back`."""
        if not decision.taken:
            return
        amount = decision.cost if cost is None else cost
        check_whole("cost", amount, 0, decision.cost, "more than was charged")

        def change(states: Sequence[Cells], nows: Sequence[int]) -> Decision:
            return_cost(self.limits, states, nows, decision, amount)
            return decision

        self._change(decision.keys, change)

    @abstractmethod
    def _change(self, keys: tuple[str, ...], change: Change) -> Decision:
        """Do *change* on the cells that each limit has for its key, as one step."""
