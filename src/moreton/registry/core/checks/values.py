"""How the health of an instance is looked at: the value, and its JSON form.

{"id": "http", "http": {"path": "/health"}, "interval": "1s", "timeout": "500ms", "failures": 2}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias, assert_never

from moreton.kernel.quantities import format_duration
from moreton.registry.core.errors import InstanceNotValid
from moreton.registry.core.faults import TEXT_CHARS_MAX, id_faults, unreadable_faults
from moreton.registry.core.standing import CheckStatus

INTERVAL_DEFAULT = timedelta(seconds=10)
TIMEOUT_DEFAULT = timedelta(seconds=2)
INTERVAL_MIN = timedelta(milliseconds=100)
TIMEOUT_MIN = timedelta(milliseconds=10)
SPAN_MAX = timedelta(days=1)
# Two in a row: one lost packet takes no instance out.
FAILURES_DEFAULT = 2
SUCCESSES_DEFAULT = 1
_COUNT_MAX = 100
CHECKS_MAX = 16
# More than half: one of two that dies is out, and so is one of three.
PROTECT_DEFAULT = 0.5
_HEADERS_MAX = 32
_WORDS_MAX = 64
_WORD_CHARS_MAX = 4096
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "OPTIONS", "PATCH", "DELETE"})
_STATUSES = (100, 599)


@dataclass(frozen=True, slots=True)
class Target:
    """Where to look: without *host* at the instance's address, without *port* at its port.

    *port* may be the name of one of the instance's further ports.
    """

    host: str = ""
    port: int | str = ""


@dataclass(frozen=True, slots=True)
class TtlProbe:
    """Nobody looks: the instance, or whoever knows, reports at least every *ttl*."""

    ttl: timedelta


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """A request that has to be answered with a status in one of *expect*, pairs `(low, high)`."""

    path: str = "/"
    method: str = "GET"
    expect: tuple[tuple[int, int], ...] = ((200, 299),)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    tls: bool = False
    verify: bool = True  # the certificate, of TLS
    target: Target = field(default_factory=Target)


@dataclass(frozen=True, slots=True)
class TcpProbe:
    """A connection that has to be accepted."""

    target: Target = field(default_factory=Target)


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """The gRPC health protocol, for the gRPC service *service* or, when empty, the whole server."""

    service: str = ""
    tls: bool = False
    target: Target = field(default_factory=Target)


@dataclass(frozen=True, slots=True)
class CommandProbe:
    """A program, run by the control plane: status 0 passes, 1 warns, any other is critical.

    In *argv* `{address}` and `{port}` are the instance's; they are in its environment, too.
    """

    argv: tuple[str, ...]


Probe: TypeAlias = TtlProbe | HttpProbe | TcpProbe | GrpcProbe | CommandProbe


@dataclass(frozen=True, slots=True)
class Check:
    """Look by *probe* every *interval*, at most *timeout* long.

    After *failures* in a row the instance is critical and out, after *successes* in a row it is
    back; while the two do not agree yet it looks twice as often. *initial* is what counts before
    anything was found: an instance with critical ones is starting. When a check is critical for
    as long as *deregister_after*, the instance is deregistered.

    Raises `InstanceNotValid` with everything that is wrong.
    """

    id: str
    probe: Probe
    interval: timedelta = INTERVAL_DEFAULT
    timeout: timedelta = TIMEOUT_DEFAULT
    failures: int = FAILURES_DEFAULT
    successes: int = SUCCESSES_DEFAULT
    initial: CheckStatus = CheckStatus.CRITICAL
    deregister_after: timedelta | None = None

    def __post_init__(self) -> None:
        faults = [f"check {self.id!r}: {fault}" for fault in _faults(self)]
        faults += id_faults("check id", self.id)
        if faults:
            raise InstanceNotValid(faults)

    @property
    def is_active(self) -> bool:
        """Whether somebody has to look."""
        return not isinstance(self.probe, TtlProbe)


@dataclass(frozen=True, slots=True)
class Care:
    """What is done for all instances of a service, beside what they ask for themselves.

    *checks* are made of each, but for those whose id it has itself. When more than the share
    *protect* of the instances falls at once, they are kept in use; 1 is never.
    Raises `InstanceNotValid`.
    """

    checks: tuple[Check, ...] = ()
    protect: float = PROTECT_DEFAULT

    def __post_init__(self) -> None:
        faults = list(checks_faults(self.checks))
        if not 0 <= self.protect <= 1:
            faults.append(f"protect {self.protect:g} is not a share from 0 to 1")
        if faults:
            raise InstanceNotValid(faults)


def usual_timeout(interval: timedelta) -> timedelta:
    """How long a look may take when nobody says: half the interval, and not too long."""
    return max(min(TIMEOUT_DEFAULT, interval / 2), TIMEOUT_MIN)


def checks_faults(checks: tuple[Check, ...]) -> Iterator[str]:
    """Of all checks of one instance."""
    if len(checks) > CHECKS_MAX:
        yield f"there are {len(checks)} checks; at most {CHECKS_MAX} are kept"
    ids = [each.id for each in checks]
    for twice in sorted({each for each in ids if ids.count(each) > 1}):
        yield f"two checks have the id {twice!r}; give each its own"


def _faults(check: Check) -> Iterator[str]:
    spans = [("interval", check.interval, INTERVAL_MIN), ("timeout", check.timeout, TIMEOUT_MIN)]
    if check.deregister_after is not None:
        spans.append(("deregister_after", check.deregister_after, INTERVAL_MIN))
    if isinstance(check.probe, TtlProbe):
        spans = [("ttl", check.probe.ttl, timedelta(seconds=1)), *spans[2:]]
    for name, span, least in spans:
        if not least <= span <= SPAN_MAX:
            shown = format_duration(span) if span >= timedelta(0) else str(span)
            yield f"{name} {shown} is outside {format_duration(least)} to 1d"
    for name, count in (("failures", check.failures), ("successes", check.successes)):
        if not 1 <= count <= _COUNT_MAX:
            yield f"{name} {count} is outside 1 to {_COUNT_MAX}"
    yield from _probe_faults(check.probe)


def _probe_faults(probe: Probe) -> Iterator[str]:
    match probe:
        case TtlProbe():
            return
        case HttpProbe():
            yield from _http_faults(probe)
        case CommandProbe():
            yield from _command_faults(probe)
        case GrpcProbe():
            if len(probe.service) > TEXT_CHARS_MAX:
                yield f"the gRPC service has {len(probe.service)} characters; name it shorter"
            yield from unreadable_faults("the gRPC service", probe.service)
        case TcpProbe():
            pass
        case _:
            assert_never(probe)
    if not isinstance(probe, CommandProbe):
        yield from _target_faults(probe.target)


def _http_faults(probe: HttpProbe) -> Iterator[str]:
    if not probe.path.startswith("/") or not _is_printable(probe.path):
        yield f"path {probe.path[:60]!r} is not a path; write one like /health"
    if probe.method not in _METHODS:
        yield f"method {probe.method!r} is not known; use one of {', '.join(sorted(_METHODS))}"
    low, high = _STATUSES
    if not probe.expect:
        yield "no status is expected, so nothing could pass; write one like 200 or 200-399"
    for first, last in probe.expect:
        if not low <= first <= last <= high:
            yield f"status {first}-{last} is not within {low}-{high}; write one like 200-399"
    if len(probe.headers) > _HEADERS_MAX:
        yield f"there are {len(probe.headers)} headers; at most {_HEADERS_MAX} are sent"
    for name, value in probe.headers.items():
        plain = name.replace("-", "").replace("_", "")
        if not plain.isascii() or not plain.isalnum() or not _is_text(value):
            yield f"header {name[:60]!r} cannot be sent; use letters, digits and -, and one line"
    if len(probe.body) > _WORD_CHARS_MAX:
        yield f"the body has {len(probe.body)} characters; at most {_WORD_CHARS_MAX} are sent"
    yield from unreadable_faults("the body", probe.body)


def _command_faults(probe: CommandProbe) -> Iterator[str]:
    if not probe.argv or not probe.argv[0]:
        yield "there is no command; write a list of the program and its arguments"
    if len(probe.argv) > _WORDS_MAX:
        yield f"the command has {len(probe.argv)} words; at most {_WORDS_MAX} are passed"
    if any(len(word) > _WORD_CHARS_MAX or "\0" in word for word in probe.argv):
        yield f"a word of the command is longer than {_WORD_CHARS_MAX} characters, or has a NUL"
    yield from unreadable_faults("the command", "".join(probe.argv))


def _target_faults(target: Target) -> Iterator[str]:
    if target.host and (not _is_printable(target.host) or len(target.host) > TEXT_CHARS_MAX):
        yield f"host {target.host[:60]!r} is not a host; write a name or an IP address"
    if isinstance(target.port, int) and not 1 <= target.port <= 65_535:
        yield f"port {target.port} is outside 1 to 65535; name the one to look at"


def _is_printable(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _is_text(text: str) -> bool:
    return len(text) <= _WORD_CHARS_MAX and text.isascii() and text.isprintable()
