"""Where the control plane is: by argument, by environment, or beside the nearest `moreton.yaml`.

For programs that talk to it from inside other people's: the standard library alone, loaded in a
fraction of the time of any other client.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REQUEST_SECONDS_MAX = 2.0
_STATE_FOLDER = ".moreton"
_ADDRESS_FILE = "controlplane.json"
_CLUSTER_FILE = "cluster.json"
_TOKEN_FILE = "token"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class Place:
    """A control plane's address, such as `http://127.0.0.1:7400`, and what opens it.

    *certificate* (PEM) is the one that it shows, where that is known.
    """

    url: str
    token: str = ""
    certificate: str = ""


class Finder:
    """Looks for the control plane anew each time: it may start later, or elsewhere."""

    def __init__(self, *, api: str | None, token: str | None) -> None:
        self._api = api
        self._token = token
        # The folder that the program was started in, should it go elsewhere later.
        self._start = Path.cwd()

    def find(self) -> tuple[Place, ...]:
        """The places of its nodes, of which any will do; none if nothing says where they are."""
        beside = _beside_configuration(self._start)
        token = self._token or os.environ.get("MORETON_TOKEN", "")
        api = self._api or os.environ.get("MORETON_API", "")
        if not api:
            return tuple(Place(each.url, token or each.token, each.certificate) for each in beside)
        known = {each.url: each for each in beside}
        urls = [as_url(each) for each in api.split(",") if each.strip()]
        # A token is shown only to the control plane that it came from.
        return tuple(
            Place(url, token or known[url].token, known[url].certificate)
            if url in known
            else Place(url, token)
            for url in urls
        )


def connect(place: Place, *, seconds: float = REQUEST_SECONDS_MAX) -> http.client.HTTPConnection:
    """An open connection to *place*, on which nothing may take longer than *seconds*.

    Raises `OSError`, and `ValueError` for what is no address.
    """
    parts = urlsplit(place.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = f"{place.url!r} is not an address like http://127.0.0.1:7400"
        raise ValueError(message)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        trust = _trust(place.certificate)
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=seconds, context=trust
        )
    else:
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    connection.connect()
    return connection


def _trust(certificate: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if certificate:
        # The very certificate that this control plane announced: whoever shows it is that control
        # plane, whatever names are in it and whoever signed it.
        context.load_verify_locations(cadata=certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
    return context


def _beside_configuration(start: Path) -> tuple[Place, ...]:
    for folder in (start, *start.parents):
        state = folder / _STATE_FOLDER
        found = (*_own(state), *_others(state))
        if found:
            token = _text(state / _TOKEN_FILE).strip()
            return tuple(Place(url, token, certificate) for url, certificate in found)
    return ()


def _own(state: Path) -> list[tuple[str, str]]:
    """The control plane of this folder."""
    announced = _document(state / _ADDRESS_FILE)
    try:
        certificate = announced.get("certificate")
        pem = "" if certificate is None else _text(Path(certificate))
        return [(as_url(announced["api"]), pem)]
    except (KeyError, TypeError, AttributeError):
        return []


def _others(state: Path) -> list[tuple[str, str]]:
    """The other nodes of its cluster, as it knew them last."""
    try:
        peers = _document(state / _CLUSTER_FILE).get("peers", ())
        return [(as_url(each["api"]), str(each.get("certificate", ""))) for each in peers]
    except (KeyError, TypeError, AttributeError):
        return []


def _document(file: Path) -> Any:
    try:
        return json.loads(_text(file) or "{}")
    except ValueError:
        return {}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, ValueError):
        return ""


def as_url(text: str) -> str:
    """The address in *text*, which may leave `http://` away."""
    plain = text.strip().rstrip("/")
    return plain if "://" in plain else f"http://{plain}"
