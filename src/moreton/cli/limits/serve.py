"""`moreton limits serve`: the rate limit service that Envoys ask."""

from __future__ import annotations

import logging
import os
import re
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moreton.cli.arguments import duration
from moreton.kernel.quantities import parse_percentage

if TYPE_CHECKING:
    from moreton.ratelimit.rls.core.tree import Away

_AWAY = ("tell", "open", "closed")


def serve(  # noqa: PLR0913 - one option for each property of the service
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[PATH]", help="A file of descriptors, or a folder of *.yaml."),
    ] = None,
    *,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A moreton.yaml whose rules in scope exact are held."),
    ] = None,
    last_good: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Keep the good rules here, for a start with bad ones."),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="Where Envoys ask; unix:/PATH for a socket.")
    ] = "127.0.0.1:8081",
    store: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Where counts are: redis://…, or a file that processes share."
        ),
    ] = "",
    processes: Annotated[int, typer.Option(min=1, max=64, help="How many answer.")] = 1,
    metrics: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", help="Serve /metrics, /healthcheck and /json; a port a process."
        ),
    ] = "",
    budget: Annotated[str, typer.Option(help="No decision waits longer for Redis.")] = "50ms",
    on_outage: Annotated[
        str,
        typer.Option(
            metavar="open|closed|N%|share=N%|tell",
            help="While Redis is away: let pass, refuse (a part), decide alone, or fail the call.",
        ),
    ] = "tell",
    headers: Annotated[
        str,
        typer.Option(metavar="STYLE", help="Fields for clients: draft-10, draft-03, legacy, off."),
    ] = "draft-10",
    body: Annotated[bool, typer.Option(help="Send a problem document with a refusal.")] = True,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="Count, and refuse nothing (SHADOW_MODE).")
    ] = False,
    quota: Annotated[
        bool, typer.Option("--quota", help="Every limit is a quota (QUOTA_MODE).")
    ] = False,
    count_refused: Annotated[
        bool,
        typer.Option(
            "--count-refused",
            help="Count what one limit refuses at the others, too, as envoyproxy/ratelimit does.",
        ),
    ] = False,
    merge_domains: Annotated[
        bool,
        typer.Option("--merge-domains", help="A domain may be in several files."),
    ] = False,
) -> None:
    """Answer Envoys that ask whether a request is within its limits.

    Reads the files of envoyproxy/ratelimit as they are, and reads them again when they change; a
    bad edit is refused and the last good one keeps serving. SIGTERM and Ctrl-C end it.

    [bold]Examples[/]

      moreton limits serve ratelimit/config

      moreton limits serve ratelimit/config --listen unix:/run/limits.sock --processes 2

      moreton limits serve limits.yaml --store redis://10.0.0.5:6379/0 --on-outage share=25%
    """
    # What it tells of its own sockets is said in our words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from moreton.ratelimit.core.fields import FieldStyle  # noqa: PLC0415 - help needs it not
    from moreton.ratelimit.rls.running.plan import Plan  # noqa: PLC0415 - as above
    from moreton.ratelimit.rls.running.workers import run  # noqa: PLC0415 - as above
    from moreton.ratelimit.rls.service import Answering  # noqa: PLC0415 - as above

    if headers not in set(FieldStyle):
        raise typer.BadParameter(
            f"{headers!r} is no style of header fields; write one of {', '.join(FieldStyle)}"
        )
    _check_listen(listen, processes)
    if path is None and rules is None:
        raise typer.BadParameter("nothing to serve; give a PATH of descriptors, or --rules FILE")
    plan = Plan(
        path,
        listen,
        store,
        processes,
        metrics,
        rules=rules,
        last_good=last_good,
        merge=merge_domains,
        away=_away(on_outage),
        budget=_budget(budget),
        answering=Answering(
            FieldStyle(headers), shadow=shadow, quota=quota, charge_all=count_refused, problem=body
        ),
    )
    _show_log()
    run(plan, _say)


def _check_listen(listen: str, processes: int) -> None:
    host, colon, port = listen.rpartition(":")
    if listen.startswith("unix:/"):
        return
    if not colon or not host or not re.fullmatch(r"\d{1,5}", port) or int(port) > 65_535:
        raise typer.BadParameter(
            f"{listen!r} is no place to listen; write HOST:PORT, as 127.0.0.1:8081, or unix:/PATH"
        )
    if processes > 1 and not int(port):
        raise typer.BadParameter("several processes share one port; name it instead of 0")


def _budget(text: str) -> timedelta:
    found = duration("--budget", text)
    if not found:
        raise typer.BadParameter("--budget is 0, in which no Redis could answer; write 50ms")
    return found


def _away(text: str) -> Away | None:
    from moreton.ratelimit.rls.core.tree import Away  # noqa: PLC0415 - as above

    if text in _AWAY:
        return {"tell": None, "open": Away(), "closed": Away(1.0)}[text]
    word, _, share = text.rpartition("=")
    try:
        part = parse_percentage(share)
    except ValueError:
        part = 0.0
    if word not in {"", "share"} or not part:
        raise typer.BadParameter(
            f"{text!r} says not what to do while Redis is away; write open, closed, 30% (of the "
            "requests are refused), share=25% (of each limit, alone), or tell"
        )
    return Away(alone=part) if word else Away(part)


def _say(text: str) -> None:
    print(f"limits: {text}", flush=True)  # noqa: T201 - for people, and who waits for it


def _show_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("limits: %(message)s"))
    log = logging.getLogger("moreton.ratelimit")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
