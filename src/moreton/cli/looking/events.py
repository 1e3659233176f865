"""`moreton events` and `moreton watch`: what happened to instances, and what happens."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from moreton.cli.arguments import duration
from moreton.cli.client import DEFAULT_CONFIG, Api, ApiUnreachable, Config
from moreton.cli.leaving.asking import patiently, tell
from moreton.cli.looking.instances import address
from moreton.cli.looking.services import counted, states
from moreton.cli.output import AsJson, print_json, print_line, print_rows

_FIELDS = ("address", "port", "zone", "weight", "version", "tags", "metadata")


def events(
    *,
    service: Annotated[str | None, typer.Option(help="Only of this service.")] = None,
    since: Annotated[str, typer.Option(help="How far back; a day is kept.")] = "1h",
    limit: Annotated[int, typer.Option(min=1, max=20_000, help="The last so many.")] = 1000,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Show who registered, left, fell and came back, who ordered it, and why.

    With --follow and --json it is one JSON document a line.

    [bold]Examples[/]

      moreton events --since 10m

      moreton events --service catalogue --follow

      moreton events --since 1d --json
    """
    duration("--since", since)
    api = Api.find(config)
    query = {"since": since, "limit": str(limit), **({"service": service} if service else {})}
    found = api.get("/v1/events", **query)
    if not follow:
        if as_json:
            print_json(found)
            return
        headings = ["at", "service", "instance", "what", "by", "why"]
        empty = f"nothing happened within {since}"
        print_rows(headings, map(_event_row, found), empty=empty)
        return
    show = _print_document if as_json else _print_event
    for each in found:
        show(each)
    only = {"service": service} if service else {}
    with until_told():
        for _, event in _streamed(api, "/v1/events", {"follow": "true", **only}):
            show(event)


def watch(
    service: Annotated[str | None, typer.Argument(help="Only this service.")] = None,
    *,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Follow the instances live: a line for each change, until Ctrl-C.

    What changed while the control plane was away is told when it is back. With --json it is one
    JSON document a line.

    [bold]Examples[/]

      moreton watch

      moreton watch catalogue --json
    """
    api = Api.find(config)
    prefix = f"instances/{service}" if service else "instances"
    known: dict[tuple[str, str], dict[str, Any]] = {}
    with until_told():
        for name, document in _streamed(api, "/v1/watch", {"prefix": prefix}):
            if as_json:
                _print_document({"event": name, **document})
                continue
            for line in _lines(name, document, known):
                print_line(f"{datetime.now().astimezone():%H:%M:%S} {line}")
                sys.stdout.flush()


@contextlib.contextmanager
def until_told() -> Iterator[None]:
    """Go on until Ctrl-C or SIGTERM, which end the command well: it did what it was asked."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        signal.signal(signal.SIGTERM, before)


def _streamed(api: Api, path: str, query: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Events for ever; asked for again when the control plane was away."""
    with contextlib.ExitStack() as stack:

        def opened() -> Iterator[tuple[str, Any]]:
            return stack.enter_context(api.stream(path, **query))

        stream = opened()
        while True:
            with contextlib.suppress(ApiUnreachable):
                yield from stream
            stack.close()
            stream = patiently(opened, tell)


def _lines(
    name: str, document: Mapping[str, Any], known: dict[tuple[str, str], dict[str, Any]]
) -> Iterator[str]:
    """What an event of the registry means to people; *known* is kept up to date."""
    if name == "listed":
        there = {(x["service"], x["id"]): x for x in document["instances"]}
        if not known:
            services = len({service for service, _ in there})
            how = counted(states(there.values())) or "none"
            yield f"{len(there)} instances of {services} services: {how}"
        else:
            for who in known.keys() - there.keys():
                yield f"{who[0]} {who[1]} is gone"
            for who, instance in there.items():
                yield from _change(instance, known.get(who))
        known.clear()
        known.update(there)
    elif name == "removed":
        known.pop((document["service"], document["id"]), None)
        yield f"{document['service']} {document['id']} is gone"
    elif name in {"registered", "updated"}:
        instance = document["instance"]
        who = (instance["service"], instance["id"])
        yield from _change(instance, known.get(who))
        known[who] = instance


def _change(instance: Mapping[str, Any], before: Mapping[str, Any] | None) -> Iterator[str]:
    who = f"{instance['service']} {instance['id']}"
    if before is None:
        by = f", registered by {instance['source']}" if instance.get("source") else ""
        yield f"{who} is {instance['state']} at {address(instance)}{by}"
        return
    if (instance["state"], instance.get("reason")) != (before["state"], before.get("reason")):
        why = f": {instance['reason']}" if instance.get("reason") else ""
        yield f"{who} is {instance['state']}{why}"
    changed = [x for x in _FIELDS if instance[x] != before[x]]
    if changed:
        yield f"{who} has another {', '.join(changed)}"


def _event_row(event: Mapping[str, Any]) -> list[str]:
    moment = datetime.fromisoformat(event["at"]).astimezone()
    return [
        f"{moment:%m-%d %H:%M:%S}",
        event["service"],
        event["id"],
        event["kind"],
        event["by"],
        event["why"],
    ]


def _print_event(event: Mapping[str, Any]) -> None:
    print_line(" ".join(filter(None, _event_row(event))))
    sys.stdout.flush()


def _print_document(document: Mapping[str, Any]) -> None:
    print_line(json.dumps(document, ensure_ascii=False))
    sys.stdout.flush()
