"""`moreton run`: register any program, unmodified, for as long as it serves."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated

import typer

from moreton.kernel.quantities import parse_duration
from moreton.registry.errors import InstanceNotValid

_AUTO = ("auto", "0")


def run(  # noqa: PLR0913 - one option for each property of an instance
    command: Annotated[
        list[str],
        typer.Argument(metavar="-- COMMAND...", help="The program and its arguments."),
    ],
    *,
    service: Annotated[str, typer.Option(help="The service that the program is a copy of.")],
    port: Annotated[
        str, typer.Option(help="Where it listens. 0 or auto: a free one, in $PORT and {port}.")
    ] = "auto",
    address: Annotated[
        str | None, typer.Option(help="Where others reach it, if not as this machine does.")
    ] = None,
    id: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(help="The instance's id, if it must be the same each time.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it stays known if this runner dies.")] = "10s",
    zone: Annotated[str, typer.Option(help="Where it runs: requests prefer their own zone.")] = "",
    weight: Annotated[int, typer.Option(help="Its share beside the other instances.")] = 1,
    version: Annotated[str, typer.Option(help="The version of the program.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    meta: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Metadata; may be repeated.")
    ] = None,
    ready_timeout: Annotated[str, typer.Option(help="How long its port may take to open.")] = "60s",
    drain_timeout: Annotated[
        str, typer.Option(help="How long proxies and requests may take until it is stopped.")
    ] = "30s",
    grace: Annotated[
        str, typer.Option(help="How long it serves on when nobody knows what the proxies know.")
    ] = "500ms",
    stop_timeout: Annotated[
        str, typer.Option(help="How long it may take to stop before it is killed.")
    ] = "30s",
    api: Annotated[
        str | None, typer.Option(help="The control plane, if not the one of this folder.")
    ] = None,
) -> None:
    """Run a program and keep it registered for as long as it serves.

    It is registered once its port accepts connections and gone at once when it ends. SIGTERM and
    Ctrl-C drain it first: no proxy sends anything new, requests under way end, then it is stopped;
    a second one stops it at once. `moreton drain` and `moreton rollout restart` reach it, too.
    Without a control plane it runs all the same, and is registered as soon as there is one.

    Exits with the program's own status; 128 + n if signal n ended it; 124 if its port never
    opened.

    [bold]Examples[/]

      moreton run --service catalogue --port 8001 -- uvicorn catalogue:app --port 8001

      moreton run --service catalogue --port auto -- python -m catalogue.service {port}
    """
    from moreton.registry.core.run import RunLimits  # noqa: PLC0415 - help needs it not
    from moreton.registry.runner import Plan, run_program  # noqa: PLC0415 - as above

    plan = Plan(
        service=service,
        command=tuple(command),
        port=_port(port),
        address=address,
        id=id,
        ttl=_duration("--ttl", ttl),
        zone=zone,
        weight=weight,
        version=version,
        tags=tuple(tag or ()),
        metadata=_metadata(meta or ()),
        api=api,
        limits=RunLimits(
            ready=_duration("--ready-timeout", ready_timeout),
            drain=_duration("--drain-timeout", drain_timeout),
            grace=_duration("--grace", grace),
            stop=_duration("--stop-timeout", stop_timeout),
        ),
    )
    _show_registry_log()
    raise typer.Exit(asyncio.run(run_program(plan, _say)))


# What follows the first word that is no option belongs to the program.
vars(run)["context_settings"] = {"allow_interspersed_args": False}


def _say(text: str) -> None:
    # Standard output is the program's.
    print(f"moreton run: {text}", file=sys.stderr, flush=True)  # noqa: T201 - for people


def _show_registry_log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("moreton run: %(message)s"))
    log = logging.getLogger("moreton.registry")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def _port(text: str) -> int:
    if text in _AUTO:
        return 0
    if not re.fullmatch(r"\d{1,5}", text) or not 1 <= int(text) <= 65_535:
        fault = f"port {text!r} is outside 1 to 65535; name the program's port, or write auto"
        raise InstanceNotValid([fault])
    return int(text)


def _duration(option: str, text: str) -> timedelta:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise InstanceNotValid([f"{option}: {error}"]) from error


def _metadata(pairs: Sequence[str]) -> dict[str, str]:
    wrong = [pair for pair in pairs if "=" not in pair]
    if wrong:
        raise InstanceNotValid(
            [f"--meta {pair!r} is not KEY=VALUE; write it like --meta team=books" for pair in wrong]
        )
    return dict(pair.split("=", 1) for pair in pairs)
