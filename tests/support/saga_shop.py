"""A shop's sagas, and a shop that remembers what was done to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from moreton.resilience import Backoff, Retry
from moreton.transactions.saga import Declined, Run, Saga, parallel, pivot, retriable, step

Order = dict[str, Any]
QUICK = Retry(
    attempts=3,
    on=Exception,
    idempotent=True,
    budget=None,
    backoff=Backoff.constant(timedelta(milliseconds=1)),
)


class Shop:
    """Its sagas are `order` (stock, then money and courier at once, then pay, then mail).

    `fails[name]` is called before a step of that name acts, or an undo called `un-name`.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.in_force: dict[str, str] = {}
        self.fails: dict[str, Callable[[Run[Order]], None]] = {}
        shop = self

        @step
        def stock(run: Run[Order]) -> str:
            return shop.do(run)

        @stock.undo(retry=QUICK)
        def unstock(run: Run[Order], found: str | None) -> None:
            shop.undo(run, found)

        @step(retry=QUICK)
        def money(run: Run[Order]) -> str:
            return shop.do(run)

        @money.undo(retry=QUICK)
        def unmoney(run: Run[Order], found: str | None) -> None:
            shop.undo(run, found)

        @step
        def courier(run: Run[Order]) -> str:
            return shop.do(run)

        @courier.undo(retry=QUICK)
        def uncourier(run: Run[Order], found: str | None) -> None:
            shop.undo(run, found)

        @pivot
        def pay(run: Run[Order]) -> str:
            return shop.do(run)

        @retriable(retry=QUICK)
        def mail(run: Run[Order]) -> str:
            return shop.do(run)

        self.stock, self.money, self.courier, self.pay, self.mail = stock, money, courier, pay, mail
        self.order = Saga("order", stock, parallel(money, courier), pay, mail)

    def do(self, run: Run[Order]) -> str:
        self.calls.append(run.step)
        self.fails.get(run.step, nothing)(run)
        self.in_force[run.do_key] = run.key
        return f"{run.step} of {run.input['article']}"

    def undo(self, run: Run[Order], found: str | None) -> None:
        self.calls.append(f"un-{run.step}" + ("?" if found is None else ""))
        self.fails.get(f"un-{run.step}", nothing)(run)
        self.in_force.pop(run.do_key, None)


def nothing(_: object) -> None:
    pass


def decline(_: object) -> None:
    raise Declined("no more figs")


def break_down(_: object) -> None:
    raise RuntimeError("the disk is gone")


def times(count: int, fail: Callable[[object], None]) -> Callable[[object], None]:
    """*fail* the first *count* times."""
    left = [count]

    def failing(run: object) -> None:
        if left[0]:
            left[0] -= 1
            fail(run)

    return failing
