"""The address of an etcd: `etcd://host:2379,host2:2379/prefix?user=..`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qsl, unquote, unquote_to_bytes

from moreton.kernel.quantities import parse_duration
from moreton.store.etcd.errors import BadEtcdUrl

PLAIN, TLS = "etcd://", "etcds://"
PORT = 2379
# etcd itself gives a write up after 7 s with its default election timeout.
TIMEOUT = timedelta(seconds=10)
_OPTIONS = ("user", "password", "password_file", "ca", "cert", "key", "timeout")
_URL = re.compile(r"etcds?://([^/?#]*)(/[^?#]*)?(?:\?([^#]*))?")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The authorities to trust, if not the system's; the own certificate and key, if wanted."""

    ca: str | None = None
    cert: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """Where an etcd is, who we are there, and which part of its keys is ours.

    *endpoints* are base URLs, in order of preference. *prefix* stands before every key; it is
    empty or ends with `/`, so that no store sees into another whose name begins like its own.
    """

    endpoints: tuple[str, ...]
    prefix: bytes = b""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: str | None = None
    tls: TlsFiles | None = None
    timeout: timedelta = TIMEOUT


def parse_address(url: str) -> EtcdAddress:
    """The address that *url* writes. Raises `BadEtcdUrl`, which never repeats a password."""
    found = _URL.fullmatch(url)
    if found is None:
        raise BadEtcdUrl(reason="it is not like etcd://host:2379,host2:2379/prefix")
    hosts, path, query = found[1], found[2] or "", found[3] or ""
    login, _, hosts = hosts.rpartition("@")
    user, colon, password = login.partition(":")
    options = _options(query)
    if login and "user" in options:
        raise BadEtcdUrl(reason="the user stands both before the host and in ?user=")
    if login:
        options["user"] = unquote(user)
    if colon:
        options["password"] = unquote(password)
    _check_login(options)
    secure = url.startswith(TLS)
    prefix = unquote_to_bytes(path).rstrip(b"/")
    return EtcdAddress(
        endpoints=tuple(_endpoint(host, secure=secure) for host in hosts.split(",")),
        prefix=prefix + b"/" if prefix else b"",
        user=options.get("user"),
        password=options.get("password"),
        password_file=options.get("password_file"),
        tls=_tls(options, secure=secure),
        timeout=_timeout(options),
    )


def _options(query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in _OPTIONS:
            raise BadEtcdUrl(reason=f"?{name}= is not known; known are {', '.join(_OPTIONS)}")
        if name in options or not value:
            raise BadEtcdUrl(reason=f"?{name}= needs one value")
        options[name] = value
    return options


def _check_login(options: Mapping[str, str]) -> None:
    secrets = [name for name in ("password", "password_file") if name in options]
    if len(secrets) == 2:
        raise BadEtcdUrl(reason="there is both a password and a password_file")
    if bool(secrets) != bool(options.get("user")):
        raise BadEtcdUrl(reason="a user and a password (or password_file) belong together")


def _tls(options: Mapping[str, str], *, secure: bool) -> TlsFiles | None:
    files = TlsFiles(options.get("ca"), options.get("cert"), options.get("key"))
    if not secure and files != TlsFiles():
        raise BadEtcdUrl(reason="ca, cert and key are for etcds://, which encrypts")
    if (files.cert is None) != (files.key is None):
        raise BadEtcdUrl(reason="cert and key belong together")
    return files if secure else None


def _timeout(options: Mapping[str, str]) -> timedelta:
    try:
        found = parse_duration(options["timeout"]) if "timeout" in options else TIMEOUT
    except ValueError as error:
        raise BadEtcdUrl(reason=f"?timeout= {error}") from error
    if not timedelta(0) < found <= timedelta(hours=1):
        raise BadEtcdUrl(reason="?timeout= must be above 0 and at most 1h")
    return found


def _endpoint(host: str, *, secure: bool) -> str:
    found = _HOST.fullmatch(host)
    if found is None or int(found[2] or PORT) not in range(1, 65536):
        # Without the host: it may hold a password that lost its `@`.
        raise BadEtcdUrl(reason="a host in it is not like host, host:2379 or [::1]:2379")
    return f"{'https' if secure else 'http'}://{found[1]}:{found[2] or PORT}"
