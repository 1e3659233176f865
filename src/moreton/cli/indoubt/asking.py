"""`moreton indoubt list` and `resolve`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moreton.cli.arguments import check_is_there
from moreton.cli.exits import Exit
from moreton.cli.output import AsJson, print_json, print_line, print_rows

if TYPE_CHECKING:
    from moreton.transactions.tcc import Record
    from moreton.transactions.twophase import InDoubt, Participant, Report, Resolver

_LogUrl = Annotated[
    str,
    typer.Option("--log", envvar="MORETON_DECISIONS", help="The log of decisions: sqlite:///…"),
]
_Participants = Annotated[
    list[str] | None,
    typer.Option(
        "--participant",
        metavar="NAME=URL",
        help="A database that takes part: sqlite:///file, postgresql://…; one for each.",
    ),
]
_TccUrl = Annotated[
    str, typer.Option("--tcc", envvar="MORETON_TCC", help="A log of TCC transactions to list, too.")
]
_ADVICE = {
    "committed": "decided: the resolver commits it",
    "aborted": "decided: the resolver rolls it back",
    "undecided": "its coordinator may be at it",
    "abandoned": "nobody decided: the resolver rolls it back",
    "foreign": "of another log: resolve it there, or by hand",
    "unknown": "nobody of Moreton's made it: end it by hand",
}


def list_(
    *,
    log: _LogUrl = "",
    participant: _Participants = None,
    tcc: _TccUrl = "",
    as_json: AsJson = False,
) -> None:
    """Name all that is in doubt; exit status 1 when a person has to decide.

    [bold]Examples[/]

      moreton indoubt list --log sqlite:///decisions.db --participant stock=sqlite:///stock.db

      moreton indoubt list --tcc sqlite:///orders.db --json
    """
    report, unfinished = _look(log, participant or [], tcc)
    if as_json:
        print_json(_document(report, unfinished))
    else:
        _show(report, unfinished)
    if report.orphans or report.torn or report.unreachable:
        raise typer.Exit(Exit.NO)


def resolve(
    gid: Annotated[
        str, typer.Argument(metavar="[GID]", help="One by its name; without: all that are decided.")
    ] = "",
    *,
    log: _LogUrl = "",
    participant: _Participants = None,
    commit: Annotated[bool, typer.Option("--commit", help="Commit GID.")] = False,
    rollback: Annotated[bool, typer.Option("--rollback", help="Roll GID back.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Against the log's decision: tears the transaction.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """End transactions as the log has decided; or one of them as you say.

    [bold]Examples[/]

      moreton indoubt resolve --log sqlite:///decisions.db --participant stock=sqlite:///stock.db

      moreton indoubt resolve moreton:4k2…:01k…:stock --rollback --log … --participant …
    """
    from moreton.transactions.twophase import Decision  # noqa: PLC0415 - help needs it not

    if bool(gid) != (commit or rollback) or (commit and rollback):
        raise typer.BadParameter("give a GID and one of --commit and --rollback, or none of them")
    if not gid:
        with resolver_of(log, participant or []) as resolver:
            report = resolver.resolve()
        if as_json:
            print_json(_document(report, []))
        else:
            _show(report, [])
        if not report.is_clean:
            raise typer.Exit(Exit.NO)
        return
    decision = Decision.COMMIT if commit else Decision.ABORT
    with resolver_of(log, participant or []) as resolver:
        where = resolver.end_by_hand(gid, decision, force=force)
    if as_json:
        print_json({"gid": gid, "decision": str(decision), "participants": where})
    else:
        done = "committed" if commit else "rolled back"
        print_line(f"{gid} is {done} at {', '.join(where)}")


def _look(log: str, participants: list[str], tcc: str) -> tuple[Report, list[Record]]:
    from moreton.transactions.twophase import Report  # noqa: PLC0415 - help needs it not

    if not log and not tcc:
        raise typer.BadParameter("give --log and --participant, or --tcc")
    report = Report()
    if log:
        with resolver_of(log, participants) as resolver:
            report = resolver.look()
    if not tcc:
        return report, []
    from moreton.transactions.tcc import open_log  # noqa: PLC0415 - as above

    check_is_there(tcc)
    opened = open_log(tcc)
    try:
        return report, opened.unfinished()
    finally:
        opened.close()


@contextlib.contextmanager
def resolver_of(log: str, participants: list[str]) -> Iterator[Resolver]:
    """A resolver of *participants*, `NAME=URL` each, by the decisions in *log*."""
    from moreton.transactions.twophase import Resolver, open_decisions  # noqa: PLC0415 - as above

    if not log or not participants:
        raise typer.BadParameter("give --log, and a --participant for each database")
    check_is_there(log)
    with contextlib.ExitStack() as stack:
        opened = open_decisions(log)
        stack.callback(opened.close)
        everybody = [_participant(text) for text in participants]
        for one in everybody:
            stack.callback(one.close)
        yield Resolver(opened, *everybody)


def _participant(text: str) -> Participant:
    import moreton.transactions.twophase as home  # noqa: PLC0415 - as above

    name, _, url = text.partition("=")
    check_is_there(url)
    try:
        if url.startswith("sqlite:///"):
            return home.SqliteParticipant(name, url.removeprefix("sqlite:///"))
        if url.startswith(("postgresql://", "postgres://")):
            return home.PostgresParticipant(name, url)
    except ValueError as error:
        raise typer.BadParameter(f"--participant: {error}") from error
    raise typer.BadParameter(
        f"--participant {name}=…: write NAME=sqlite:///file or NAME=postgresql://…"
    )


def _show(report: Report, unfinished: list[Record]) -> None:
    everything = [(one, "ended: ") for one in report.ended]
    everything += [(one, "") for one in (*report.waiting, *report.orphans)]
    rows = [
        (
            one.prepared.participant,
            f"{prefix}{one.doubt}",
            f"{one.prepared.age.total_seconds():.1f} s",
            one.prepared.gid,
            "" if prefix else _ADVICE[one.doubt],
        )
        for one, prefix in everything
    ]
    rows += [
        ("tcc", str(one.state), "", one.transaction_id, f"waits for {', '.join(one.pending)}")
        for one in unfinished
    ]
    headings = ("at", "is", "for", "transaction", "what to do")
    print_rows(headings, rows, empty="nothing is in doubt")
    for gid, name in report.torn:
        print_line(f"torn: {gid} was decided to commit, and was rolled back at {name}")
    for name, why in report.unreachable.items():
        print_line(f"warning: {name}: {why}")


def _document(report: Report, unfinished: list[Record]) -> dict[str, Any]:
    return {
        "ended": [_in_doubt(one) for one in report.ended],
        "waiting": [_in_doubt(one) for one in report.waiting],
        "orphans": [_in_doubt(one) for one in report.orphans],
        "torn": [{"gid": gid, "participant": name} for gid, name in report.torn],
        "unreachable": dict(report.unreachable),
        "tcc": [
            {
                "transaction_id": one.transaction_id,
                "state": str(one.state),
                "pending": list(one.pending),
                "trouble": dict(one.trouble),
                "attempts": one.attempts,
            }
            for one in unfinished
        ],
    }


def _in_doubt(one: InDoubt) -> dict[str, Any]:
    return {
        "gid": one.prepared.gid,
        "participant": one.prepared.participant,
        "doubt": str(one.doubt),
        "seconds": round(one.prepared.age.total_seconds(), 3),
        "owner": one.prepared.owner,
        "transaction_id": one.name.transaction_id if one.name else None,
    }
