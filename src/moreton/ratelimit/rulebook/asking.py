"""The rules of a control plane, asked for by a thread that never disturbs the program it is in."""

from __future__ import annotations

import http.client
import json
import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from moreton.config import ConfigRefused
from moreton.kernel.places import Finder, Place, connect
from moreton.ratelimit.errors import LimitStoreUnavailable
from moreton.ratelimit.rulebook.documents import from_document

if TYPE_CHECKING:
    from moreton.ratelimit.rulebook.book import Rulebook

PATH = "/v1/limits/rules"
_ANSWER_BYTES_MAX = 16 * 1024 * 1024
_RESETS_REMEMBERED = 10_000
_log = logging.getLogger("moreton.ratelimit")


class RulesAsker:
    """Keeps *book* as the control plane says, asked every *seconds*."""

    def __init__(self, finder: Finder, book: Rulebook, seconds: float) -> None:
        self._finder = finder
        self._book = book
        self._seconds = seconds
        self._version = ""
        self._resets: set[str] | None = None
        self._was_answered = True
        self._starting = threading.Lock()
        self._process = 0

    def start(self) -> None:
        """Begin, in this process, unless it runs here: threads do not survive a fork."""
        if self._process == os.getpid():
            return
        with self._starting:
            if self._process != os.getpid():
                self._process = os.getpid()
                threading.Thread(target=self._run, name="moreton-rules", daemon=True).start()

    def ask(self) -> bool:
        """Ask once, now; whether a node answered."""
        reason = "no control plane was found"
        for place in self._finder.find():
            reason = self._ask(place)
            if not reason:
                break
        if reason and self._was_answered:
            _log.warning("the limits stay as they were meanwhile: %s", reason)
        self._was_answered = not reason
        return not reason

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._seconds):
            try:
                self.ask()
            except Exception:  # noqa: BLE001 - a fault of ours must not become the program's
                _log.exception("asking for limits failed")

    def _ask(self, place: Place) -> str:
        """GET the rules from *place*; why that failed, or nothing."""
        headers = {"accept": "application/json", "user-agent": "moreton"}
        if place.token:
            headers["authorization"] = f"Bearer {place.token}"
        if self._version:
            headers["if-none-match"] = self._version
        try:
            connection = connect(place)
            try:
                connection.request("GET", urlsplit(place.url).path + PATH, headers=headers)
                answer = connection.getresponse()
                body = answer.read(_ANSWER_BYTES_MAX)
            finally:
                connection.close()
            if answer.status == http.client.NOT_MODIFIED:
                return ""
            if answer.status != http.client.OK:
                return f"{place.url} answers {answer.status}"
            self._take(json.loads(body))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{place.url} does not answer: {str(error) or type(error).__name__}"
        except LimitStoreUnavailable as error:
            return f"a reset is yet to be done: {error}"
        except ConfigRefused as refused:
            return f"{place.url} has limits that this version cannot keep: {refused}"
        self._version = answer.headers.get("etag", "")
        return ""

    def _take(self, document: Any) -> None:
        limits, bans, resets = from_document(document, Path.cwd())
        self._book.replace(limits, bans)
        if self._resets is None:  # what was reset before this process began is nothing to it
            self._resets = {one.id for one in resets}
        self._resets &= {one.id for one in resets}
        failed: LimitStoreUnavailable | None = None
        for one in resets:
            if one.id in self._resets or len(self._resets) >= _RESETS_REMEMBERED:
                continue
            try:
                self._book.reset(one.rule, one.key)
            except LimitStoreUnavailable as error:
                failed = error  # done with the next answer, as this one is not taken for known
                continue
            self._resets.add(one.id)
        if failed is not None:
            raise failed
