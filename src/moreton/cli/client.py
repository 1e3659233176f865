"""A client of the running control plane's API, for commands.

The standard library's HTTP client: it is loaded in a tenth of the time of any other, and a command
is over in one or two calls.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import quote, urlencode, urlsplit

import typer

from moreton.controlplane.state_folder import find_running, read_token
from moreton.kernel.errors import MoretonError, RetryAdvice

_TIMEOUT_SECONDS = 30.0
_BODY_CHARS_SHOWN = 200

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
    """The API of the control plane that runs for one configuration."""

    def __init__(self, url: str, token: str, *, certificate: Path | None = None) -> None:
        self.url = url
        self._token = token
        self._certificate = certificate

    @classmethod
    def find(cls, config: Path) -> Api:
        """The control plane of *config*, else of `MORETON_API` and `MORETON_TOKEN`.

        Raises `NotRunning`.
        """
        if url := os.environ.get("MORETON_API"):
            return cls(url.rstrip("/"), os.environ.get("MORETON_TOKEN", ""))
        folder = state_folder(config)
        found = find_running(folder)
        return cls(found.api, read_token(folder), certificate=found.certificate)

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
        """One call; its document. Raises `ApiRefused`, `ApiUnreachable`."""
        target = quote(path, safe="/")
        if query:
            target += f"?{urlencode(query, doseq=True)}"
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json"}
        content = None
        if body is not None:
            content = json.dumps(body).encode()
            headers["content-type"] = "application/json"
        connection = self._connection()
        try:
            connection.request(method, target, content, headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            reason = str(error) or type(error).__name__
            raise ApiUnreachable(api=self.url, reason=reason.lower()) from error
        finally:
            connection.close()
        if answer.status >= http.client.BAD_REQUEST:
            raise ApiRefused(status=answer.status, detail=_detail(answer.status, text))
        return json.loads(text) if text else None

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "127.0.0.1", parts.port
        if parts.scheme != "https":
            return http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
        context = ssl.create_default_context()
        if self._certificate is not None:
            # The very certificate that the control plane of this folder announced: whoever
            # shows it is that control plane, whatever names are in it and whoever signed it.
            context.load_verify_locations(self._certificate)
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.check_hostname = False
        return http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


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
        if "state" not in text:
            return standard
        import yaml  # noqa: PLC0415 - only where the folder is not the usual one

        section = (yaml.safe_load(text) or {}).get("controlplane") or {}
        return home / str(section.get("state", ".moreton"))
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return standard


def _detail(status: int, body: bytes) -> str:
    try:
        problem = json.loads(body)
        return str(problem.get("detail") or problem.get("title") or problem)
    except (ValueError, AttributeError):
        text = body.decode(errors="replace")[:_BODY_CHARS_SHOWN]
        return f"the control plane answered {status}: {text}"
