"""Somebody who looks at Envoy all the time: at its weights, and at who answers whom."""

from __future__ import annotations

import http.client
import itertools
import json
import re
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from e2e.migrations.fleet import Fleet, Visitor
from moreton.envoy.process.folder import EnvoyFolder
from support.waits import SECONDS, join_all, wait_until

_WEIGHT = re.compile(r"weights\.([^:]+):\.(old|new)")
_PAUSE_SECONDS = 0.005


class Watcher:
    """Looks while it is entered: *visitors* ask in turn, and Envoy is asked for its weights."""

    def __init__(self, fleet: Fleet, visitors: Sequence[Visitor]) -> None:
        self.visitors = visitors
        self.rounds = 0
        self.looks = 0
        self.failures: list[str] = []
        # The candidate's shares that Envoy had, each change of them, with the time of the look.
        self.shares: dict[str, list[tuple[float, float]]] = defaultdict(list)
        folder = EnvoyFolder(fleet.world.folder / ".moreton" / "envoy")
        self._admin = folder.admin_socket
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._ask, self._look)]

    def __enter__(self) -> Self:
        for each in self._threads:
            each.start()
        try:
            self.wait_round()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end()

    def _end(self) -> None:
        self._ended.set()
        join_all(self._threads)

    def wait_round(self) -> None:
        """Return once everybody has asked, and Envoy was looked at, from now on."""
        rounds, looks = self.rounds, self.looks
        wait_until(
            lambda: (self.rounds > rounds + 1 and self.looks > looks + 1) or self._ended.is_set(),
            f"everybody asks; until now {self.failures}",
        )

    def _ask(self) -> None:
        while not self._ended.is_set():
            for each in self.visitors:
                try:
                    status = each.ask()
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"{each.route}: {error!r}")
                else:
                    if status != 200:
                        self.failures.append(f"{each.route}: {status}")
                if self._ended.wait(_PAUSE_SECONDS):
                    return
            self.rounds += 1

    def _look(self) -> None:
        while not self._ended.wait(_PAUSE_SECONDS * 4):
            try:
                found = weights_at(self._admin)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"Envoy's weights: {error!r}")
                continue
            now = time.time()
            for route, weights in found.items():
                share = weights["new"] / (weights["old"] + weights["new"])
                if not self.shares[route] or self.shares[route][-1][1] != share:
                    self.shares[route].append((now, share))
            self.looks += 1


def weights_at(admin: Path) -> dict[str, dict[str, float]]:
    """Envoy's own word on the weights of each route that has a choice."""
    connection = http.client.HTTPConnection("localhost", timeout=SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(SECONDS)
    try:
        connection.sock.connect(str(admin))
        connection.request("GET", "/runtime")
        entries = json.loads(connection.getresponse().read())["entries"]
    finally:
        connection.close()
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for key, entry in entries.items():
        if named := _WEIGHT.fullmatch(key):
            found[named[1]][named[2]] = float(entry["final_value"])
    return {route: weights for route, weights in found.items() if len(weights) == 2}


def outside(seen: Sequence[tuple[float, float]], history: Sequence[dict[str, Any]]) -> str:
    """What of the shares *seen* no stage of *history* allowed then; empty when all is well.

    Each has to be of an entry that was written before it was seen, none older than the one
    before: it may be passed over, and never comes back.
    """
    allowed = [(0.0, 0.0)]
    allowed += [(datetime.fromisoformat(e["when"]).timestamp(), e["share"]) for e in history]
    place = 0
    for when, share in seen:
        later = itertools.islice(enumerate(allowed), place, None)
        found = next((n for n, one in later if abs(one[1] - share) < 1e-6), None)
        if found is None or allowed[found][0] > when:
            return f"{share:.4%} at {when}, allowed were {allowed[place:]}; seen {seen}"
        place = found
    return ""
