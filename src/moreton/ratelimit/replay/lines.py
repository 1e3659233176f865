"""Lines of access logs: the common and the combined format, and JSON objects.

Sources: Apache HTTP Server, "Log Files"; nginx, ngx_http_log_module. Of JSON the names that Envoy,
nginx, Caddy and Moreton's own gateways use are known.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from moreton.ratelimit.core.rules.seen import Caller

LINE_CHARS_MAX = 64 * 1024
_COMMON = re.compile(
    r'(?P<address>\S+) \S+ (?P<user>.*?) \[(?P<time>[^\]]+)\] "(?P<request>(?:[^"\\]|\\.)*)" '
    r'(?P<status>\d{3}|-) (?:\S+)(?: "(?P<referer>(?:[^"\\]|\\.)*)" '
    r'"(?P<agent>(?:[^"\\]|\\.)*)")?'
)
_TIME = "%d/%b/%Y:%H:%M:%S %z"
_TIMES_REMEMBERED = 1024
_SECONDS_MAX = 1e11  # beyond it is not seconds but milliseconds, or finer
_ADDRESSES = ("client", "remote_addr", "client_ip", "remote_ip", "clientip", "address", "ip")
_TIMES = ("time", "ts", "timestamp", "@timestamp", "time_iso8601", "start_time", "date")
_METHODS = ("method", "request_method", "verb")
_PATHS = ("path", "uri", "request_uri", "url", "target")
_STATUSES = ("status", "response_code", "status_code", "code")
_HOSTS = ("host", "authority", "server_name")
_AGENTS = ("user_agent", "http_user_agent", "agent")


class NotALogLine(ValueError):
    """A line that is of none of the formats."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One request of a log: when, what, and how it was answered."""

    nanos: int  # since 1970
    caller: Caller
    status: int


def read_line(line: str) -> Entry:
    """The request in *line*. Raises `NotALogLine`, with what is missing."""
    if len(line) > LINE_CHARS_MAX:
        raise NotALogLine(f"it is longer than {LINE_CHARS_MAX} characters")
    line = line.strip()
    return _read_json(line) if line.startswith("{") else _read_common(line)


def _read_common(line: str) -> Entry:
    found = _COMMON.match(line)
    if found is None:
        raise NotALogLine("it is neither JSON nor in the common or the combined format")
    try:
        nanos = _common_time(found["time"])
    except ValueError as error:
        raise NotALogLine(f"{found['time']!r} is not a time like 26/Nov/2026:12:00:00 +0000") from (
            error
        )
    method, path = _request(_unescaped(found["request"]))
    headers = {}
    for name, value in (("referer", found["referer"]), ("user-agent", found["agent"])):
        if value and value != "-":
            headers[name] = _unescaped(value)
    status = int(found["status"]) if found["status"].isdigit() else 0
    return Entry(nanos, Caller(method, path, headers, found["address"]), status)


@functools.lru_cache(_TIMES_REMEMBERED)
def _common_time(text: str) -> int:
    # Many lines have one second.
    return _nanos(datetime.strptime(text, _TIME))  # noqa: DTZ007 - it has %z


def _read_json(line: str) -> Entry:
    try:
        told = json.loads(line)
    except ValueError as error:
        raise NotALogLine(f"it is not JSON: {error}") from error
    if not isinstance(told, dict):
        raise NotALogLine("it is not an object")
    # Caddy puts what is of the request into an object of its own.
    inner = told.get("request")
    fields = {**inner, **told} if isinstance(inner, dict) else told
    address = _first(fields, _ADDRESSES)
    if address is None:
        raise NotALogLine(f"it has no address; name it one of {', '.join(_ADDRESSES)}")
    line_of = _text(inner) if isinstance(inner, str) else ""
    method, path = _request(line_of) if line_of else ("GET", "/")
    method = _text(_first(fields, _METHODS) or method).upper()
    path = _plain_path(_text(_first(fields, _PATHS) or path))
    status = _first(fields, _STATUSES)
    return Entry(
        _moment(_first(fields, _TIMES)),
        Caller(
            method,
            path,
            _headers(fields),
            _text(address),
            gateway=_text(fields.get("gateway") or ""),
            service=_text(fields.get("service") or ""),
            route=_text(fields.get("route") or ""),
        ),
        int(status) if str(status).isdigit() else 0,
    )


def _headers(fields: Mapping[str, Any]) -> dict[str, str]:
    """Header fields: those of an object `headers`, and what has a field of its own."""
    found: dict[str, str] = {}
    given = fields.get("headers")
    if isinstance(given, dict):
        for name, value in given.items():
            values = value if isinstance(value, list) else [value]
            found[str(name).lower()] = ",".join(map(_text, values))
    for name, known in (("host", _HOSTS), ("user-agent", _AGENTS)):
        value = _first(fields, known)
        if value is not None:
            found.setdefault(name, _text(value))
    return found


def _moment(value: Any) -> int:
    if isinstance(value, bool) or value is None:
        raise NotALogLine(f"it has no time; name it one of {', '.join(_TIMES)}")
    if isinstance(value, int | float) or re.fullmatch(r"\d+(\.\d+)?", str(value)):
        number = float(value)
        while number > _SECONDS_MAX:
            number /= 1000
        return int(number * 1e9)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        try:
            return _common_time(str(value))
        except ValueError as error:
            raise NotALogLine(f"{value!r} is not a time like 2026-11-26T12:00:00Z") from error
    return _nanos(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def _nanos(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000


def _request(line: str) -> tuple[str, str]:
    """The method and the path of `GET /a?b HTTP/1.1`; of what is none of that, `-`."""
    words = line.split(" ")
    if len(words) < 2:
        return "-", "/"
    return words[0], _plain_path(words[1])


def _plain_path(target: str) -> str:
    try:
        path = urlsplit(target).path if "://" in target else target
    except ValueError:
        path = target
    return path.partition("?")[0].partition("#")[0] or "/"


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text) if "\\" in text else text


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        value = fields.get(name)
        if value is not None and value not in ("", "-") and not isinstance(value, dict | list):
            return value
    return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
