"""A client of the running control plane's API, for commands.

The standard library's HTTP client: it is loaded in a tenth of the time of any other, and a command
is over in one or two calls.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote, urlencode

import typer

from moreton.controlplane.cluster.home import Home
from moreton.controlplane.errors import NotRunning
from moreton.controlplane.state_folder import Announcement, find_running, read_token
from moreton.kernel.errors import MoretonError, RetryAdvice
from moreton.kernel.places import Place, as_url, connect

_TIMEOUT_SECONDS = 30.0
_BODY_CHARS_SHOWN = 200
# `moreton up` loads for half a second before it holds its folder, and answers a second later; on a
# busy machine both take longer. Where one was killed, another is likely to be begun.
_BEGIN_SECONDS, _ANEW_SECONDS, _START_SECONDS = 1.0, 3.0, 10.0
_SAY_AFTER_SECONDS = 1.0
_AGAIN_SECONDS = 0.05

Config: TypeAlias = Annotated[
    Path,
    typer.Option(
        "--config", "-c", metavar="PATH", help="The file (or folder) that `moreton up` runs with."
    ),
]
DEFAULT_CONFIG = Path("moreton.yaml")


class ApiUnreachable(MoretonError):
    """The announced control plane does not answer."""

    code = "api-unreachable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, api: str, reason: str) -> None:
        super().__init__(
            f"the control plane at {api} does not answer, {reason}: the command did nothing; "
            "look at the output of `moreton up`, or start it again"
        )


class ApiRefused(MoretonError):
    """The control plane answered with a problem."""

    code = "api-refused"

    def __init__(self, *, status: int, detail: str) -> None:
        self.status = status
        super().__init__(detail)


class Api:
    """The API of the control plane that runs for one configuration.

    Of several nodes the first that answers is asked; *url* is the one that was asked last.
    """

    def __init__(self, places: Sequence[Place], token: str) -> None:
        self.url = places[0].url
        self._places = list(places)
        self._token = token

    @classmethod
    def find(cls, config: Path, *, waits: bool = True) -> Api:
        """The control plane of `MORETON_API` and `MORETON_TOKEN`, else of *config*.

        `MORETON_API` may name several nodes, with commas. For a configuration whose own control
        plane does not run, the other nodes of its cluster are asked; without any, one that only
        starts is waited for (*waits*), ten seconds at most, and where none is, a moment, as a
        script has it that says `moreton up &` before. Raises `NotRunning`.
        """
        urls = [each.strip() for each in os.environ.get("MORETON_API", "").split(",")]
        if any(urls):
            places = [Place(as_url(url)) for url in urls if url]
            return cls(places, os.environ.get("MORETON_TOKEN", ""))
        folder = state_folder(config)
        others = [Place(each.api, certificate=each.certificate) for each in Home.read(folder).peers]
        try:
            found = _running(folder, waits=waits and not others, may_begin=config.exists())
        except NotRunning:
            if not others:
                raise
            return cls(others, read_token(folder))
        own = Place(found.api, certificate=_content(found.certificate))
        return cls([own, *others], read_token(folder))

    def get(self, path: str, **query: str | Sequence[str]) -> Any:
        """The document at *path*."""
        return self.call("GET", path, query=query)

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
    ) -> Any:
        """One call; its document. Raises `ApiRefused`, `ApiUnreachable`.

        A call may be repeated at another node, for all but POST say what is to be, not what to do.
        """
        text = self.text(method, path, body, query=query)
        return json.loads(text) if text else None

    def text(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        query: Mapping[str, str | Sequence[str]] | None = None,
    ) -> bytes:
        """As `call`, for what is no document."""
        target = quote(path, safe="/")
        if query:
            target += f"?{urlencode(query, doseq=True)}"
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json"}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        status, text = self._first_answer(method, target, content, headers)
        if status >= http.client.BAD_REQUEST:
            raise ApiRefused(status=status, detail=_detail(status, text))
        return text

    @contextlib.contextmanager
    def stream(self, path: str, **query: str) -> Iterator[Iterator[tuple[str, Any]]]:
        """Server-sent events at *path*, each its name and its document, until the node ends them.

        Reading raises `ApiUnreachable` when the node falls silent. Raises as `call`.
        """
        target = quote(path, safe="/") + (f"?{urlencode(query)}" if query else "")
        headers = {"authorization": f"Bearer {self._token}", "accept": "text/event-stream"}
        failed: list[str] = []
        reason = "there is nobody to ask"
        for place in self._places:
            self.url = place.url
            try:
                connection, answer = _opened(place, target, headers)
            except (OSError, ValueError, http.client.HTTPException) as error:
                failed.append(place.url)
                reason = (str(error) or type(error).__name__).lower()
                continue
            with contextlib.closing(connection):
                if answer.status >= http.client.BAD_REQUEST:
                    detail = _detail(answer.status, answer.read())
                    raise ApiRefused(status=answer.status, detail=detail)
                yield _server_events(answer, place.url)
            return
        raise ApiUnreachable(api=", ".join(failed), reason=reason)

    def _first_answer(
        self, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """The answer of the first node that can give one; it is asked first from then on.

        A node that has lost its store says so (503): what it says counts if no other can help.
        """
        cut_off: tuple[int, bytes] | None = None
        failed: list[str] = []
        why = _NoAnswer("there is nobody to ask", sent=False)
        for place in list(self._places):
            self.url = place.url
            try:
                status, text = _ask(place, method, target, content, headers)
            except _NoAnswer as error:
                failed.append(place.url)
                why = error
                if error.sent and method == "POST":
                    break
                continue
            if status != http.client.SERVICE_UNAVAILABLE:
                self._places.remove(place)
                self._places.insert(0, place)
                return status, text
            cut_off = status, text
        if cut_off is not None:
            return cut_off
        raise ApiUnreachable(api=", ".join(failed), reason=str(why).lower()) from why


def _opened(
    place: Place, target: str, headers: Mapping[str, str]
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    connection = connect(place, seconds=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", target, headers=headers)
        return connection, connection.getresponse()
    except BaseException:
        connection.close()
        raise


def _server_events(answer: http.client.HTTPResponse, url: str) -> Iterator[tuple[str, Any]]:
    name, data = "", ""
    try:
        for raw in answer:
            line = raw.decode(errors="replace").rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                data += line.removeprefix("data: ")
            elif not line and name:
                yield name, json.loads(data or "null")
                name, data = "", ""
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ApiUnreachable(
            api=url, reason=(str(error) or type(error).__name__).lower()
        ) from error


class _NoAnswer(Exception):
    def __init__(self, reason: str, *, sent: bool) -> None:
        self.sent = sent
        super().__init__(reason)


def _ask(
    place: Place, method: str, target: str, content: bytes | None, headers: Mapping[str, str]
) -> tuple[int, bytes]:
    sent = False
    try:
        with contextlib.closing(connect(place, seconds=_TIMEOUT_SECONDS)) as connection:
            sent = True
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _NoAnswer(str(error) or type(error).__name__, sent=sent) from error


def _running(folder: Path, *, waits: bool, may_begin: bool) -> Announcement:
    """The control plane of *folder*, waited for while it starts, or a moment if it *may begin*."""
    began, told = time.monotonic(), False
    while True:
        try:
            return find_running(folder)
        except NotRunning as error:
            passed = time.monotonic() - began
            if not waits or passed >= _patience(error, may_begin=may_begin):
                raise
            if not told and passed >= _SAY_AFTER_SECONDS:
                does = "starts" if error.starts else "was killed"
                print(f"the control plane {does}: waiting for it", file=sys.stderr)  # noqa: T201
                told = True
        time.sleep(_AGAIN_SECONDS)


def _patience(error: NotRunning, *, may_begin: bool) -> float:
    if error.starts:
        return _START_SECONDS
    return (_ANEW_SECONDS if error.died else _BEGIN_SECONDS) * may_begin


def _content(certificate: Path | None) -> str:
    if certificate is not None:
        with contextlib.suppress(OSError, ValueError):
            return certificate.read_text()
    return ""


def differences_file(config: Path) -> Path:
    """Where this node's collector keeps what differs, and what it learned."""
    return state_folder(config) / "compare" / "differences.sqlite"


def state_folder(config: Path) -> Path:
    """The state folder of *config*: what its `controlplane.state` says, else `.moreton` beside it.

    Reads the file only when it says something of it: commands need no valid configuration.
    """
    home = config if config.is_dir() else config.parent
    standard = home / ".moreton"
    if (standard / "controlplane.json").exists() or not config.is_file():
        return standard
    try:
        text = config.read_text()
    except (OSError, ValueError):
        return standard
    if "state" not in text:
        return standard
    import yaml  # noqa: PLC0415 - only where the folder is not the usual one

    try:
        section = (yaml.safe_load(text) or {}).get("controlplane") or {}
        return home / str(section.get("state", ".moreton"))
    except (ValueError, AttributeError, yaml.YAMLError):
        return standard


def _detail(status: int, body: bytes) -> str:
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title") or problem)
    except (ValueError, AttributeError):
        text = body.decode(errors="replace")[:_BODY_CHARS_SHOWN]
        return f"the control plane answered {status}: {text}"
