"""An order that three services fulfil together; when the courier fails, the others are undone."""

from moreton.transactions.saga import Declined, Run, Saga, Sagas, parallel, pivot, retriable, step


@step
def stock(run: Run[dict[str, int]]) -> str:
    return f"{run.input['figs']} figs put aside as {run.key}"


@stock.undo
def put_back(_: Run[dict[str, int]], aside: str | None) -> None:
    print(f"   put back: {aside}")


@step
def money(run: Run[dict[str, int]]) -> int:
    return 3 * run.input["figs"]


@money.undo
def let_go(_: Run[dict[str, int]], held: int | None) -> None:
    print(f"   not charged: {held}")


@pivot
def courier(run: Run[dict[str, int]]) -> str:
    if run.input["figs"] > 100:
        raise Declined("no van is large enough")
    return f"a van comes for {run[stock]}"


@retriable
def letter(run: Run[dict[str, int]]) -> None:
    print(f"   {run[courier]}, to be paid: {run[money]}")


ORDER = Saga("order", parallel(stock, money), courier, letter)
with Sagas("sqlite:///sagas.sqlite", ORDER) as sagas:
    for figs in (7, 700):
        outcome = sagas.run(ORDER, {"figs": figs}, id=f"order-{figs}")
        print(f"{figs} figs: {outcome.status} {outcome.reason}")
