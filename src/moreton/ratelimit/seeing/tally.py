"""The counts of one process: guards add to them, exporters and the reporter read them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock

from moreton.ratelimit.clocks import SYSTEM, LimitClock
from moreton.ratelimit.core.limit import seconds_of
from moreton.ratelimit.seeing.core.heavy import HeavyHitters
from moreton.ratelimit.seeing.core.report import (
    KEY_CHARS_MAX,
    OTHER,
    RULES_MAX,
    TALKERS_MAX,
    Decided,
    Report,
    RuleReport,
    Verdict,
    shown,
)

__all__ = ["TALLY", "Tally", "Verdict"]

_log = logging.getLogger("moreton.ratelimit")
_REFUSED = frozenset({Verdict.REJECT, Verdict.DROP})
_DIGEST_CHARS = 8


@dataclass(frozen=True, slots=True)
class Noted:
    """One decision of *rule*; *degraded*: its store could not be asked."""

    rule: str
    verdict: Verdict
    mode: str
    degraded: bool


Listener = Callable[[Noted], None]


class Tally:
    """Counts what rules decide, and about whom; safe to use from threads.

    The first `RULES_MAX` rules have their own names, the others are `other` together; of each the
    `TALKERS_MAX` keys that ask most are known.
    """

    def __init__(self, *, clock: LimitClock = SYSTEM) -> None:
        self._clock = clock
        self._listeners: tuple[Listener, ...] = ()
        self.forget()

    def forget(self) -> None:
        """Begin anew: a child process counts for itself."""
        self._lock = Lock()
        self._names: dict[str, str] = {}
        self._began = self._clock.monotonic()
        self._decisions: dict[str, Counter[Decided]] = {}
        self._degraded: Counter[str] = Counter()
        self._talkers: dict[str, HeavyHitters] = {}

    def note(
        self,
        rule: str,
        keys: Sequence[str],
        verdict: Verdict,
        mode: str,
        *,
        cost: int = 1,
        secret: bool = False,
        degraded: bool = False,
    ) -> None:
        """*rule* decided *verdict* in *mode* about who asked with *keys* for *cost*.

        Keys that are *secret*, as API keys are, are told by a hash.
        """
        key = _shown(keys, secret=secret)
        with self._lock:
            name = self._name(rule)
            self._decisions.setdefault(name, Counter())[verdict, mode] += 1
            talkers = self._talkers.get(name)
            if talkers is None:
                talkers = self._talkers[name] = HeavyHitters(TALKERS_MAX)
            talkers.add(key, cost, refused=cost if verdict in _REFUSED else 0)
            self._degraded[name] += degraded
        for listener in self._listeners:
            try:
                listener(Noted(name, verdict, mode, degraded))
            except Exception:  # noqa: BLE001 - whatever a listener does wrong
                _log.exception("a listener failed on a decision of %s", rule)

    def take(self) -> Report:
        """What was decided since it was taken last; it is counted from nothing again."""
        with self._lock:
            decisions, self._decisions = self._decisions, {}
            degraded, self._degraded = self._degraded, Counter()
            talkers, self._talkers = self._talkers, {}
            now = self._clock.monotonic()
            began, self._began = self._began, now
        rules = [
            RuleReport(name, counts, degraded[name], told.top(), told.floor, told.total)
            for name, counts in decisions.items()
            for told in (talkers[name],)
        ]
        return Report(source(), rules, max(0.0, seconds_of(now - began)))

    def subscribe(self, listener: Listener) -> None:
        """Call *listener* with every decision from now on, in the thread where it is made."""
        if not callable(listener):
            raise TypeError(f"listener is {listener!r}: give a function that takes a Noted")
        self._listeners = (*self._listeners, listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Stop calling *listener*; nothing when it does not listen."""
        with contextlib.suppress(ValueError):
            remaining = list(self._listeners)
            remaining.remove(listener)
            self._listeners = tuple(remaining)

    def _name(self, rule: str) -> str:
        known = self._names.get(rule)
        if known is None:
            if len(self._names) >= RULES_MAX:
                return OTHER
            known = self._names[rule] = shown(rule)
        return known


def source() -> str:
    """This process as reports name it."""
    return f"{socket.gethostname()}/{os.getpid()}"


def masked(key: str) -> str:
    """What may be shown of a secret: enough to find one that is known, not to guess one."""
    return f"sha256:{_digest(key)}"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]


def _shown(keys: Sequence[str], *, secret: bool) -> str:
    """One name for all *keys* of a decision, whatever their length."""
    name = keys[0] if len(set(keys)) == 1 else ", ".join(keys)
    if secret:
        return masked(name)
    if len(name) > KEY_CHARS_MAX:
        # Long keys that begin alike are still several.
        name = f"{name[: KEY_CHARS_MAX - _DIGEST_CHARS - 1]}…{_digest(name)}"
    return shown(name)


TALLY = Tally()
os.register_at_fork(after_in_child=TALLY.forget)
