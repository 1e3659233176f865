"""What gunicorn serves: the shop with its noise; `candidate` with one regression at a time.

`POST /-/seed/NAME` chooses it, or none, and forgets; `GET /-/affected` has the numbers of the
requests that it changed; `POST /-/restock` puts one more of each book on the shelves.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from typing import Any, TypeAlias
from urllib.parse import unquote

from bench.recall.noise import noisy
from bench.recall.seeded import REGRESSIONS
from bench.recall.seeded.seed import Asked, Regression
from moreton.strangler.compare import Answer

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bench.recall.settings")
from django.core.wsgi import get_wsgi_application  # after the settings are known

Environ: TypeAlias = dict[str, Any]
Start: TypeAlias = Callable[..., Any]
SEEN_HEADER = "x-bench-request"
_USER_COOKIE = "sessionid="
_PLAIN = frozenset({"content-length"})


class Twin:
    """One instance; only a *faulty* one takes regressions."""

    def __init__(self, *, faulty: bool) -> None:
        self._shop = get_wsgi_application()
        self._faulty = faulty
        self._rng = random.Random()
        self._seed: Regression | None = None
        self._affected: set[int] = set()
        self._turns = count()
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        answer = self._told(path[3:]) if path.startswith("/-/") else self._answered(environ)
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", "") and answer.body:
            packed = gzip.compress(answer.body, 1)
            fields = [*answer.headers, ("content-encoding", "gzip")]
            answer = replace(answer, headers=fields, body=packed)
        headers = [pair for pair in answer.headers if pair[0] not in _PLAIN]
        headers.append(("content-length", str(len(answer.body))))
        start(f"{answer.status} .", headers)
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else answer.body]

    def _told(self, word: str) -> Answer:
        what, _, name = word.partition("/")
        found: Any = None
        if what == "seed":
            self._seed = REGRESSIONS[unquote(name)] if name else None
            self._affected, self._turns = set(), count()
        elif what == "affected":
            with self._lock:
                found = sorted(self._affected)
        elif what == "restock":
            _restock()
        return Answer(200, [("content-type", "application/json")], json.dumps(found).encode())

    def _answered(self, environ: Environ) -> Answer:
        asked = _asked(environ, next(self._turns))
        answer = noisy(asked, self._of_shop(environ), self._rng)
        if self._seed is None or not self._faulty:
            return answer
        changed = self._seed.change(asked, answer)
        if _seen(asked, changed) != _seen(asked, answer):
            with self._lock:
                self._affected.add(int(environ.get("HTTP_X_BENCH_REQUEST", 0)))
        return changed

    def _of_shop(self, environ: Environ) -> Answer:
        head: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
            head[:] = [int(status[:3]), [(name.lower(), one.strip()) for name, one in headers]]

        parts = self._shop(environ, start)
        body = b"".join(parts)
        parts.close()
        return Answer(head[0], head[1], body)


def _asked(environ: Environ, turn: int) -> Asked:
    return Asked(
        environ["REQUEST_METHOD"],
        environ["PATH_INFO"],
        environ.get("QUERY_STRING", ""),
        environ.get("HTTP_ACCEPT_LANGUAGE", "en")[:2],
        _USER_COOKIE in environ.get("HTTP_COOKIE", ""),
        turn,
    )


def _seen(asked: Asked, answer: Answer) -> object:
    """What of *answer* is sent."""
    body = b"" if asked.method == "HEAD" else answer.body
    return answer.status, list(answer.headers), body


def _restock() -> None:
    from django.db.models import F  # noqa: PLC0415 - once Django is there
    from oscar.core.loading import get_model  # noqa: PLC0415 - as above

    get_model("partner", "StockRecord").objects.update(num_in_stock=F("num_in_stock") + 1)


def primary() -> Twin:
    return Twin(faulty=False)


def candidate() -> Twin:
    return Twin(faulty=True)
