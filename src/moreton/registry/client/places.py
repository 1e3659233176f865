"""Where the control plane is: by argument, by environment, or beside the nearest `moreton.yaml`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

_STATE_FOLDER = ".moreton"
_ADDRESS_FILE = "controlplane.json"
_TOKEN_FILE = "token"  # noqa: S105 - a file's name


@dataclass(frozen=True, slots=True)
class Place:
    """The control plane's address, such as `http://127.0.0.1:7400`, and what opens it."""

    url: str
    token: str


class Finder:
    """Looks for the control plane anew each time: it may start later, or elsewhere."""

    def __init__(self, *, api: str | None, token: str | None) -> None:
        self._api = api
        self._token = token
        # The folder that the program was started in, should it go elsewhere later.
        self._start = Path.cwd()

    def find(self) -> Place | None:
        """The control plane's place; `None` if nothing says where it is."""
        beside = _beside_configuration(self._start)
        token = self._token or os.environ.get("MORETON_TOKEN", "")
        api = self._api or os.environ.get("MORETON_API", "")
        if not api:
            return Place(beside.url, token or beside.token) if beside is not None else None
        url = _as_url(api)
        if not token and beside is not None and beside.url == url:
            # A token is shown only to the control plane that it came from.
            token = beside.token
        return Place(url, token)


def _beside_configuration(start: Path) -> Place | None:
    for folder in (start, *start.parents):
        state = folder / _STATE_FOLDER
        try:
            found = json.loads((state / _ADDRESS_FILE).read_text())
            url = _as_url(found["api"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        try:
            token = (state / _TOKEN_FILE).read_text().strip()
        except OSError:
            token = ""
        return Place(url, token)
    return None


def _as_url(text: str) -> str:
    plain = text.strip().rstrip("/")
    return plain if "://" in plain else f"http://{plain}"
