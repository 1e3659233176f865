"""`moreton drain`: let an instance leave without a lost request."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import partial
from typing import Annotated, Any

import typer

from moreton.cli.arguments import duration
from moreton.cli.client import DEFAULT_CONFIG, Api, ApiRefused, Config
from moreton.cli.leaving.asking import (
    asker,
    find_instance,
    path_of,
    patiently,
    tell,
)
from moreton.cli.output import AsJson, print_json, print_line
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.quantities import format_duration

# One question is held open so long: what there is to tell people is no older.
_LOOK_SECONDS = 1.0
# Beyond the time that `moreton run` gives a program to stop.
_STOP_SECONDS_MAX = 40.0
_STOPPING_LOOK_SECONDS = 0.1


class DrainIncomplete(MoretonError):
    """A proxy did not acknowledge, or a request did not end, in time."""

    code = "drain-incomplete"
    retry = RetryAdvice.AFTER

    def __init__(self, *, instance: str, waits_for: str, seconds: float) -> None:
        super().__init__(
            f'"{instance}" is not out after {seconds:g} s, still waiting for {waits_for}: it stays '
            "draining and its program goes on; wait longer by the same command, or take it back "
            f"with `moreton drain {instance} --undo`"
        )


class NotStopped(MoretonError):
    """A program that is drained did not stop."""

    code = "program-not-stopped"
    retry = RetryAdvice.AFTER

    def __init__(self, *, instance: str, reason: str) -> None:
        super().__init__(
            f'"{instance}" is drained, but its program did not stop, {reason}: nothing is sent to '
            "it; stop it where it runs"
        )


def drain(
    instance: Annotated[str, typer.Argument(help="The instance's id.")],
    *,
    service: Annotated[
        str | None, typer.Option(help="Its service, if others have an instance of that id.")
    ] = None,
    timeout: Annotated[
        str, typer.Option(help="How long proxies and requests under way may take.")
    ] = "30s",
    reason: Annotated[str, typer.Option(help="Why, for those who look at it.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take it back: it serves again.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even the last instance of its service.")
    ] = False,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Do not tell its program to stop.")
    ] = False,
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Send nothing new to an instance, let what is under way end, then stop its program.

    Waits until every connected proxy has acknowledged that it sends nothing there, then until none
    has a request under way there, then tells `moreton run` to stop the program (SIGTERM, and
    SIGKILL if it does not stop). What was not registered by `moreton run` is left running.
    Interrupted, or out of time, it stays draining: the same command goes on, --undo takes it back.

    [bold]Examples[/]

      moreton drain catalogue-7f3a

      moreton drain catalogue-7f3a --timeout 5m --reason "new disk"

      moreton drain catalogue-7f3a --undo
    """
    limit = duration("--timeout", timeout)
    api = Api.find(config)
    found = find_instance(api, instance, service)
    path = path_of(found)
    if undo:
        api.call("DELETE", f"{path}/drain")
        _answer(as_json, {**_about(found), "state": "serving"}, f'"{instance}" serves again')
        return
    body = {"reason": reason, "by": asker(), "force": force}
    patiently(lambda: api.call("POST", f"{path}/drain", body, query={"wait": "0"}), tell)
    progress = _wait_idle(api, path, instance, limit)
    if keep_running or found.get("source") != "run":
        _answer(as_json, progress, f'"{instance}" is drained: nothing is sent to it')
        return
    ended = _stop(api, path, found)
    _answer(as_json, {**progress, "stopped": True, "detail": ended}, _stopped(instance, ended))


def _wait_idle(api: Api, path: str, instance: str, limit: timedelta) -> dict[str, Any]:
    until = time.monotonic() + limit.total_seconds()
    told = ""
    while True:
        wait = max(0.0, min(_LOOK_SECONDS, until - time.monotonic()))
        found = patiently(partial(_progress, api, path, wait), tell)
        if found["idle"]:
            return found
        waits_for = found["waits_for"] or f"its state, {found['state']}"
        if time.monotonic() >= until:
            seconds = limit.total_seconds()
            raise DrainIncomplete(instance=instance, waits_for=waits_for, seconds=seconds)
        if waits_for != told:
            tell(f"waiting for {waits_for}, {format_duration(limit)} at most")
            told = waits_for


def _progress(api: Api, path: str, wait: float) -> dict[str, Any]:
    found: dict[str, Any] = api.get(f"{path}/drain", wait=f"{wait:.3f}", until="idle")
    return found


def _stop(api: Api, path: str, found: dict[str, Any]) -> str:
    """Tell whoever runs the program to stop it; what became of that. Raises `NotStopped`."""
    service, instance = found["service"], found["id"]
    body = {"action": "stop", "token": f"stop-{time.time_ns()}", "by": asker()}
    try:
        patiently(lambda: api.call("POST", f"{path}/instruction", body), tell)
    except ApiRefused as error:
        if error.status == 404:
            return "it had stopped by itself"
        raise
    until = time.monotonic() + _STOP_SECONDS_MAX
    phase = ""
    while time.monotonic() < until:
        told = patiently(lambda: api.get(f"/v1/services/{service}/instructions"), tell)
        mine = told.get(instance, {})
        phase = mine.get("phase", "")
        if phase == "failed":
            raise NotStopped(instance=instance, reason=mine["detail"])
        there = patiently(lambda: api.get(f"/v1/services/{service}/instances"), tell)
        gone = instance not in {each["id"] for each in there}
        if phase == "done" or (gone and phase != "stopping"):
            return str(mine.get("detail") or "it has left")
        time.sleep(_STOPPING_LOOK_SECONDS)
    raise NotStopped(instance=instance, reason=f"it is {phase or 'not told'} still")


def _stopped(instance: str, ended: str) -> str:
    return f'"{instance}" is drained and stopped: {ended}'


def _about(found: dict[str, Any]) -> dict[str, Any]:
    return {"service": found["service"], "id": found["id"]}


def _answer(as_json: bool, document: dict[str, Any], text: str) -> None:  # noqa: FBT001 - one way
    if as_json:
        print_json(document)
    else:
        print_line(text)
