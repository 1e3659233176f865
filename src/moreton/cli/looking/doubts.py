"""What `moreton status` says of transactions: sagas that are parked, and what is in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moreton.cli.indoubt.asking import resolver_of
from moreton.cli.saga.log import opened
from moreton.kernel.errors import MoretonError

_NAMED_MAX = 5


def doubts(sagas: str, decisions: str, participants: list[str]) -> dict[str, Any]:
    """What the logs at *sagas* and *decisions* have for a person; what is not given is not asked.

    A log, or a participant, that does not answer is told as that.
    """
    found: dict[str, Any] = {}
    if sagas:
        try:
            with opened(sagas) as ledger:
                found["sagas"] = ledger.counts()
        except MoretonError as error:
            found["sagas_unknown"] = str(error)
    if decisions and participants:
        try:
            with resolver_of(decisions, participants) as resolver:
                report = resolver.look()
        except MoretonError as error:
            found["decisions_unknown"] = str(error)
        else:
            found["orphans"] = [one.prepared.gid for one in report.orphans]
            found["in_doubt"] = [one.prepared.gid for one in report.waiting]
            found["unreachable"] = dict(report.unreachable)
    return found


def said(found: dict[str, Any]) -> Iterator[str]:
    """*found* in lines; nothing where there is nothing to do."""
    if parked := found.get("sagas", {}).get("parked"):
        yield f"parked: {_count(parked, 'saga')}; see `moreton saga list --status parked`"
    if orphans := found.get("orphans"):
        yield (
            f"orphans: {_count(len(orphans), 'prepared transaction')} that no log here has to "
            f"decide, {_named(orphans)}; see `moreton indoubt list`"
        )
    if waiting := found.get("in_doubt"):
        yield (
            f"in doubt: {_count(len(waiting), 'prepared transaction')}, {_named(waiting)}; "
            "a resolver ends them"
        )
    for name, why in found.get("unreachable", {}).items():
        yield f"trouble: participant {name}: {why}"
    for what in ("sagas", "decisions"):
        if why := found.get(f"{what}_unknown"):
            yield f"trouble: the log of {what}: {why}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _named(gids: list[str]) -> str:
    more = len(gids) - _NAMED_MAX
    return ", ".join(gids[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
