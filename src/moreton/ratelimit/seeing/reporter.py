"""Reports to the control plane, from a thread that never disturbs the program it runs in."""

from __future__ import annotations

import atexit
import functools
import http.client
import json
import logging
import os
import threading
import weakref
from datetime import timedelta
from typing import Self
from urllib.parse import urlsplit

from moreton.kernel.arguments import check_duration
from moreton.kernel.places import Finder, Place, connect
from moreton.ratelimit.seeing.core.report import Report, to_document
from moreton.ratelimit.seeing.tally import TALLY, Tally

PATH = "/v1/limits/reports"
_EVERY = timedelta(seconds=2)
_ANSWER_BYTES_MAX = 64 * 1024
_log = logging.getLogger("moreton.ratelimit")


class LimitReporter:
    """Tells all nodes of the control plane what a tally took down, *every* so often.

    While none answers the counts of that time are lost: nothing piles up, and nothing waits. A
    child process that was forked tells of itself.
    """

    def __init__(self, finder: Finder, tally: Tally, every: timedelta) -> None:
        self._finder = finder
        self._tally = tally
        self._every = every.total_seconds()
        self._was_told = True
        self._prepare()

    def start(self) -> Self:
        """Begin; returns at once."""
        self._thread.start()
        atexit.register(self.close)
        os.register_at_fork(after_in_child=functools.partial(_revive, weakref.ref(self)))
        return self

    def close(self) -> None:
        """Tell what there is yet, and stop. Takes a few seconds at most; may be called again."""
        atexit.unregister(self.close)
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def report(self) -> bool:
        """Tell once, now; whether a node took it."""
        report = self._tally.take()
        if not report.rules:
            return True
        answers = [self._tell(place, report) for place in self._finder.find()]
        told = any(not answer for answer in answers)
        if self._was_told and not told:
            reason = answers[0] if answers else "no control plane was found"
            _log.warning("the control plane is not told of rate limits meanwhile: %s", reason)
        self._was_told = told
        return told

    def revive(self) -> None:
        """In a child, which has none of its parent's threads: go on, unless it was closed."""
        if not self._ending.is_set():
            self._prepare()
            self._thread.start()

    def _prepare(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="moreton-limits", daemon=True)

    def _run(self) -> None:
        ending = False
        while not ending:
            ending = self._ending.wait(self._every)
            try:
                self.report()
            except Exception:  # noqa: BLE001 - a fault of ours must not become the program's
                _log.exception("a report on rate limits failed")

    def _tell(self, place: Place, report: Report) -> str:
        """POST *report* to *place*; why that failed, or nothing."""
        headers = {"content-type": "application/json", "user-agent": "moreton"}
        if place.token:
            headers["authorization"] = f"Bearer {place.token}"
        body = json.dumps(to_document(report)).encode()
        try:
            connection = connect(place)
            try:
                connection.request("POST", urlsplit(place.url).path + PATH, body, headers)
                answer = connection.getresponse()
                answer.read(_ANSWER_BYTES_MAX)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{place.url} does not answer: {str(error) or type(error).__name__}"
        if answer.status >= http.client.BAD_REQUEST:
            return f"{place.url} answers {answer.status}"
        return ""


def _revive(reporter: weakref.ref[LimitReporter]) -> None:
    found = reporter()
    if found is not None:
        found.revive()


def report_limits(
    *,
    api: str | None = None,
    token: str | None = None,
    every: timedelta = _EVERY,
    tally: Tally = TALLY,
) -> LimitReporter:
    """Tell the control plane from now on what the rules of this process decide, and about whom.

    *api* and *token* are found by `MORETON_API` and `MORETON_TOKEN` or beside the nearest
    `moreton.yaml` upwards when they are not given. Workers that are forked afterwards tell, too.
    Nothing fails because of it; close what comes back to stop.
    """
    check_duration("every", every, "it would do nothing else")
    return LimitReporter(Finder(api=api, token=token), tally, every).start()
