"""`moreton outbox dead`: events that an inbox could not handle, and what is to become of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moreton.cli.arguments import check_is_there
from moreton.cli.output import AsJson, print_json, print_line, print_rows
from moreton.kernel.quantities import format_duration

if TYPE_CHECKING:
    from moreton.transactions.outbox.dead import DeadLetter, DeadLetters

Database = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="MORETON_DATABASE",
        help="Where the tables are: sqlite:///file or postgresql://…",
    ),
]
Numbers = Annotated[list[int] | None, typer.Argument(help="As `dead list` shows them.")]
_ALL_AT_ONCE = 1000

dead = typer.Typer(
    help="Events that an inbox could not handle: look, try again, give up.",
    no_args_is_help=True,
)


@dead.command("list")
def list_(
    *,
    database: Database,
    consumer: Annotated[str, typer.Option(help="Only of this consumer.")] = "",
    waiting: Annotated[
        bool, typer.Option("--waiting", help="Those too that are tried again, or wait behind one.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List dead letters, the oldest first.

    [bold]Examples[/]

      moreton outbox dead list --database postgresql:///payments

      moreton outbox dead list --database sqlite:///payments.db --waiting --json
    """
    with _letters(database) as letters:
        found = letters.listing(consumer, waiting=waiting)
    if as_json:
        print_json([asdict(each) for each in found])
        return
    headings = ["number", "consumer", "type", "about", "state", "since", "behind it", "reason"]
    print_rows(headings, map(_row, found), empty="no dead letters")


@dead.command()
def inspect(
    number: Annotated[int, typer.Argument(help="As `dead list` shows it.")],
    *,
    database: Database,
    as_json: AsJson = False,
) -> None:
    """Show one event that is set aside, whole, and why.

    [bold]Examples[/]

      moreton outbox dead inspect 17 --database postgresql:///payments
    """
    with _letters(database) as letters:
        found = letters.inspect(number)
    if as_json:
        print_json({**asdict(found), "event": _event(found)})
        return
    for name, value in asdict(found).items():
        if name != "event":
            print_line(f"{name.replace('_', ' '):<12} {value}")
    print_line(json.dumps(_event(found), indent=2, ensure_ascii=False))


@dead.command()
def replay(
    numbers: Numbers = None,
    *,
    database: Database,
    every: Annotated[bool, typer.Option("--all", help="All dead letters of --consumer.")] = False,
    consumer: Annotated[str, typer.Option(help="With --all: only of this consumer.")] = "",
    as_json: AsJson = False,
) -> None:
    """Have dead letters handled as if they were new, in order; those behind them follow.

    The running consumer does it, so start that with the mended handler first.

    [bold]Examples[/]

      moreton outbox dead replay 17 18 --database postgresql:///payments

      moreton outbox dead replay --all --consumer payments --database postgresql:///payments
    """
    with _letters(database) as letters:
        count = letters.replay(*_chosen(letters, numbers, every=every, consumer=consumer))
    _say("replayed", count, as_json=as_json)


@dead.command()
def drop(
    numbers: Numbers = None,
    *,
    database: Database,
    every: Annotated[bool, typer.Option("--all", help="All dead letters of --consumer.")] = False,
    consumer: Annotated[str, typer.Option(help="With --all: only of this consumer.")] = "",
    as_json: AsJson = False,
) -> None:
    """Give dead letters up for good; those that wait behind them go on.

    [bold]Examples[/]

      moreton outbox dead drop 17 --database postgresql:///payments
    """
    with _letters(database) as letters:
        count = letters.drop(*_chosen(letters, numbers, every=every, consumer=consumer))
    _say("dropped", count, as_json=as_json)


@contextmanager
def _letters(database: str) -> Iterator[DeadLetters]:
    from moreton.transactions.outbox.dead import DeadLetters  # noqa: PLC0415 - help needs it not

    check_is_there(database)
    with closing(DeadLetters(database)) as letters:
        yield letters


def _chosen(
    letters: DeadLetters, numbers: list[int] | None, *, every: bool, consumer: str
) -> list[int]:
    if bool(numbers) == every:
        raise typer.BadParameter("give the numbers of dead letters, or --all")
    return numbers or [each.number for each in letters.listing(consumer)]


def _say(what: str, count: int, *, as_json: bool) -> None:
    if as_json:
        print_json({what: count})
        return
    print_line(f"{what}: {count}")
    if count == _ALL_AT_ONCE:
        print_line("a thousand at a time: run it again for more")


def _event(letter: DeadLetter) -> Any:
    try:
        return json.loads(letter.event)
    except ValueError:
        return letter.event


def _row(letter: DeadLetter) -> list[str]:
    state = f"dead after {letter.attempts}" if letter.dead else "waiting"
    since = format_duration(timedelta(seconds=round(letter.age_seconds)))
    return [
        str(letter.number),
        letter.consumer,
        letter.type or "no event",
        letter.key,
        state,
        since,
        str(letter.behind),
        letter.reason.splitlines()[0] if letter.reason else "",
    ]
