"""Noise of a real site, on both sides: what two answers to the same request never have in common.

Django makes tokens, session ids and marks of versions by itself. Here come recommendations in any
choice and order, moments, ids, counters, a clock's jitter, and a banner that is seldom there.
"""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bench.recall.seeded.seed import Asked, is_html, is_json
from moreton.strangler.compare import Answer

_LABELS = ["new", "bestseller", "signed", "gift", "hardback"]
_BOOKS = [(number, f"book-{number}", (499 + number * 25) / 100) for number in range(1, 65)]
_ADVISED = 4
_SELDOM = 0.005


def noisy(asked: Asked, answer: Answer, rng: random.Random) -> Answer:
    """*answer* with this moment's noise."""
    fields = [
        ("x-request-id", f"{rng.getrandbits(128):032x}"),
        ("x-trace", f"{rng.getrandbits(64):016x}"),
        ("server-timing", f"app;dur={rng.uniform(1, 40):.1f}"),
        ("x-cache", rng.choice(["HIT", "MISS"])),
    ]
    answer = replace(answer, headers=[*answer.headers, *fields])
    if is_html(answer):
        return replace(answer, body=_page(answer.body.decode(), rng).encode())
    if is_json(answer):
        return replace(answer, body=_value(asked, json.loads(answer.body), rng))
    return answer


def _page(page: str, rng: random.Random) -> str:
    request = f'<meta name="request" content="{rng.getrandbits(64):016x}">'
    advised = "".join(
        f'<li><a class="advice" href="/catalogue/{name}_{number}/">{name}</a>'
        f'<span class="advised">£{price:.2f}</span></li>'
        for number, name, price in rng.sample(_BOOKS, _ADVISED)
    )
    now = datetime.now(UTC).isoformat()
    end = (
        f"<aside><ul>{advised}</ul></aside>"
        f'<p>Seen by <b id="looking">{rng.randint(1, 9)}</b>, at <time id="rendered">{now}</time>'
        f"</p><script>window.visit = {rng.random():.9f};</script>"
    )
    page = page.replace("</head>", f"{request}</head>", 1)
    if rng.random() < _SELDOM:
        page = page.replace("<body", '<div class="sale">Today only!</div><body', 1)
    return page.replace("</body>", f"{end}</body>", 1)


def _value(asked: Asked, found: Any, rng: random.Random) -> bytes:
    if isinstance(found, dict):
        found["generated_at"] = datetime.now(UTC).isoformat()
        if "structure" in found:
            found["labels"] = rng.sample(_LABELS, len(_LABELS))
            found["recommended_products"] = [
                {"url": f"/api/products/{number}/", "price": f"{price:.2f}"}
                for number, _, price in rng.sample(_BOOKS, _ADVISED)
            ]
        if asked.path.endswith("/price/"):
            found["rate"] = round(rng.uniform(1.16, 1.18), 6)
    return json.dumps(found, separators=(",", ":")).encode()
