"""Leaving without losing a request: nothing new is sent, and it is known when that is so."""

from __future__ import annotations

import http.client
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from moreton.kernel.places import REQUEST_SECONDS_MAX
from moreton.registry.client.wire import Answer, Api, path_of
from moreton.registry.client.worker import Worker
from moreton.registry.core.heartbeat import Phase, Unanswered
from moreton.registry.core.standing import InstanceState

# One question waits so long at most, so that whoever hurries is not held up by it.
_WAIT_SECONDS_MAX = 1.0
# Without an answer for so long there is nobody who could say what the proxies know.
_SILENCE_SECONDS_MAX = 1.5
_AGAIN_SECONDS = 0.05
_NOT_REGISTERED = "instance-not-registered"
_WORD = "word from the control plane"
_GONE = "it left the registry meanwhile"


@dataclass(frozen=True, slots=True)
class Drained:
    """What is known of an instance that nothing new shall be sent to.

    *acknowledged*: no proxy sends anything new. *idle*: nor is a request under way that came by a
    proxy. Else *waits_for* names, for people, what was not so when the time was up, and *unknown*
    says why nobody could tell, if so.
    """

    acknowledged: bool
    idle: bool
    waits_for: str = ""
    unknown: str = ""


def drain(worker: Worker, timeout: timedelta, *, until_idle: bool = True) -> Drained:
    """Let nothing new be sent to *worker*'s instance, and wait, at most *timeout*, until it is so.

    *until_idle*: and until the requests under way have ended. Gives up early when no control
    plane answers.
    """
    if worker.phase is Phase.JOINING:
        return _not_yet(worker, "its registration")
    deadline = time.monotonic() + timeout.total_seconds()
    worker.restate(InstanceState.DRAINING)
    left = deadline - time.monotonic()
    if not worker.wait_stated(InstanceState.DRAINING, min(left, _SILENCE_SECONDS_MAX)):
        return _not_yet(worker, "the registry to know that it drains")
    asker = worker.new_api()
    try:
        return _wait(asker, worker, deadline, until_idle=until_idle)
    finally:
        asker.close()


def _wait(api: Api, worker: Worker, deadline: float, *, until_idle: bool) -> Drained:
    until = "idle" if until_idle else "acknowledged"
    found = Drained(False, False, "the control plane to say how far the proxies are")
    heard = time.monotonic()
    longest = 0.0  # the first question is how far they are
    while worker.phase not in {Phase.LEAVING, Phase.LEFT}:
        wait = max(0.0, min(longest, deadline - time.monotonic()))
        longest = _WAIT_SECONDS_MAX
        said = api.call(
            "GET",
            f"{path_of(worker.offer)}/drain?until={until}&wait={wait:.3f}",
            seconds=wait + REQUEST_SECONDS_MAX,
        )
        now = time.monotonic()
        if isinstance(said, Answer) and said.status == http.client.OK:
            heard = now
            found = _read(said.document)
            if found.idle or (found.acknowledged and not until_idle) or now >= deadline:
                return found
            continue
        if isinstance(said, Unanswered):
            found = _unknown(said.reason)
        elif said.document.get("code") != _NOT_REGISTERED:
            # A control plane of before this was asked for.
            return _unknown(f"the control plane answers {said.status}")
        if now >= deadline or now - heard >= _SILENCE_SECONDS_MAX:
            return found
        time.sleep(_AGAIN_SECONDS)
    return _unknown(_GONE)


def _not_yet(worker: Worker, waits_for: str) -> Drained:
    return _unknown(worker.trouble) if worker.trouble else Drained(False, False, waits_for)


def _unknown(why: str) -> Drained:
    return Drained(False, False, _WORD, why)


def _read(document: Mapping[str, Any]) -> Drained:
    return Drained(
        acknowledged=document.get("acknowledged") is True,
        idle=document.get("idle") is True,
        waits_for=str(document.get("waits_for", "")),
    )
