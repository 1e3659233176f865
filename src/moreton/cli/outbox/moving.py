"""`moreton outbox relay`, `status`, `resend` and `schema`."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from moreton.cli.arguments import check_is_there, duration
from moreton.cli.outbox.dead import Database
from moreton.cli.output import AsJson, print_json, print_line
from moreton.kernel.quantities import format_duration

if TYPE_CHECKING:
    from moreton.transactions.outbox import Outbox

Topic = Annotated[str, typer.Argument(help="The topic of the outbox.")]
Table = Annotated[str, typer.Option(help="The outbox's table, if it has a name of its own.")]
_TABLE = "moreton_outbox"
_ANY_TOPIC = "any"  # where only the table matters


def relay(
    topic: Topic,
    *,
    database: Database,
    broker: Annotated[
        str,
        typer.Option(
            envvar="MORETON_BROKER", help="nats://host:4222, postgresql://… or sqlite:///file"
        ),
    ],
    keep: Annotated[str, typer.Option(help="How long events stay once they are sent.")] = "1h",
    table: Table = _TABLE,
) -> None:
    """Move events from an outbox to a broker until it is told to stop.

    Run as many as you like: one works, the others take over when it dies.

    [bold]Examples[/]

      moreton outbox relay orders --database postgresql:///orders --broker nats://localhost

      moreton outbox relay orders --database sqlite:///orders.db --broker sqlite:///events.db
    """
    from moreton.transactions.outbox import Relay  # noqa: PLC0415 - help needs it not

    outbox, kept = _outbox(topic, table), duration("--keep", keep)
    print_line(f"relaying {topic}; stop it with Ctrl-C")
    Relay(outbox, database=database, broker=broker, keep=kept).run()


def status(*, database: Database, table: Table = _TABLE, as_json: AsJson = False) -> None:
    """Show what waits in an outbox and in the inboxes of a database.

    [bold]Examples[/]

      moreton outbox status --database postgresql:///orders
    """
    from moreton.transactions.outbox.looking import look  # noqa: PLC0415 - help needs it not

    check_is_there(database)
    found = look(database, _outbox(_ANY_TOPIC, table).table)
    if as_json:
        print_json(found)
        return
    oldest = format_duration(timedelta(seconds=round(found["oldest_seconds"])))
    print_line(f"outbox       {found['unsent']} unsent, the oldest for {oldest}")
    print_line(f"             {found['kept']} sent and kept")
    for each in found["consumers"]:
        print_line(
            f"inbox        {each['consumer']}: {each['dead']} dead, "
            f"{each['set_aside'] - each['dead']} waiting; {each['handled']} remembered"
        )
    for each in found["leases"]:
        print_line(f"lease        {each['name']} {each['state']}, token {each['token']}")


def resend(
    topic: Topic,
    *,
    database: Database,
    since: Annotated[str, typer.Option(help="How far back: 10m, 1h.")],
    table: Table = _TABLE,
    as_json: AsJson = False,
) -> None:
    """Send what is still kept once more, for a broker that lost it; inboxes know what they had.

    [bold]Examples[/]

      moreton outbox resend orders --since 10m --database postgresql:///orders
    """
    from moreton.transactions.outbox.looking import send_again  # noqa: PLC0415 - help needs it not

    check_is_there(database)
    outbox = _outbox(topic, table)
    count = send_again(database, outbox, duration("--since", since))
    if as_json:
        print_json({"resent": count})
    else:
        print_line(f"{count} events are sent again by the running relay")


def skip_lost(
    consumer: Annotated[str, typer.Argument(help="The name of the inbox.")],
    topic: Topic,
    *,
    database: Database,
    as_json: AsJson = False,
) -> None:
    """Have a consumer go on with what a broker has, when messages before that are gone.

    Send again first what the outbox still keeps: `moreton outbox resend`.

    [bold]Examples[/]

      moreton outbox skip-lost payments orders --database postgresql:///payments
    """
    from moreton.transactions.outbox.looking import forget_position  # noqa: PLC0415 - as above

    check_is_there(database)
    known = forget_position(database, consumer, topic)
    if as_json:
        print_json({"known": known})
    elif known:
        print_line(f"{consumer} reads {topic} from the first message there is")
    else:
        print_line(f"{consumer} has not read {topic} yet: nothing to skip")


class DialectName(StrEnum):
    """A kind of database."""

    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"


def schema(*, dialect: Annotated[DialectName, typer.Option()], table: Table = _TABLE) -> None:
    """Print the tables as SQL, for migrations.

    [bold]Examples[/]

      moreton outbox schema --dialect postgresql > outbox.sql
    """
    from moreton.transactions.outbox.looking import tables  # noqa: PLC0415 - help needs it not

    for each in tables(dialect.value, _outbox(_ANY_TOPIC, table).table):
        print_line(f"{each};")


def _outbox(topic: str, table: str) -> Outbox:
    from moreton.transactions.outbox import Outbox  # noqa: PLC0415 - help needs it not

    try:
        return Outbox(topic, table=table)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
