"""The address of a node's folder: `raft:///folder?reads=local&timeout=5s`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from urllib.parse import parse_qsl, unquote

from moreton.kernel.quantities import parse_duration
from moreton.store.raft.errors import BadRaftUrl

SCHEME = "raft:///"
TIMEOUT = timedelta(seconds=10)
_URL = re.compile(r"raft:///([^?#]+)(?:\?([^#]*))?")
_OPTIONS = ("reads", "timeout")


class Reads(StrEnum):
    """How new an answer must be."""

    LINEARIZABLE = "linearizable"  # everything that was acknowledged before, anywhere
    LOCAL = "local"  # what this node has: also without a majority, and maybe old


@dataclass(frozen=True, slots=True)
class RaftAddress:
    """A node's folder, and how its store behaves."""

    folder: str
    reads: Reads = Reads.LINEARIZABLE
    timeout: timedelta = TIMEOUT


def parse_address(url: str) -> RaftAddress:
    """The address that *url* writes. Raises `BadRaftUrl`."""
    found = _URL.fullmatch(url)
    if found is None:
        raise BadRaftUrl(url=url, reason="it is not like raft:///folder")
    options: dict[str, str] = {}
    for name, value in parse_qsl(found[2] or "", keep_blank_values=True):
        if name not in _OPTIONS:
            known = ", ".join(_OPTIONS)
            raise BadRaftUrl(url=url, reason=f"?{name}= is not known; known are {known}")
        if name in options or not value:
            raise BadRaftUrl(url=url, reason=f"?{name}= needs one value")
        options[name] = value
    return RaftAddress(
        folder=unquote(found[1]),
        reads=_reads(url, options.get("reads")),
        timeout=_timeout(url, options.get("timeout")),
    )


def _reads(url: str, text: str | None) -> Reads:
    if text is None:
        return Reads.LINEARIZABLE
    try:
        return Reads(text)
    except ValueError as error:
        reason = f"?reads={text} is neither linearizable nor local"
        raise BadRaftUrl(url=url, reason=reason) from error


def _timeout(url: str, text: str | None) -> timedelta:
    try:
        found = parse_duration(text) if text is not None else TIMEOUT
    except ValueError as error:
        raise BadRaftUrl(url=url, reason=f"?timeout= {error}") from error
    if not timedelta(0) < found <= timedelta(hours=1):
        raise BadRaftUrl(url=url, reason="?timeout= must be above 0 and at most 1h")
    return found
