"""Makes a test of a pair of answers that was kept."""

from __future__ import annotations

import re
from pprint import pformat

from moreton.strangler.compare.sqlite import Pair

_NOT_A_NAME = re.compile(r"[^a-z0-9]+")
_TEMPLATE = '''"""{endpoint} answers as the application did on {day}.

Set CANDIDATE to the address of the service, and run it with pytest.
"""

import os

import httpx

from moreton.strangler.compare import DEFAULT_RULES, Answer, Rulebook, compare
from moreton.strangler.compare.written import read_answer

REQUEST = {request}
PRIMARY = {primary}


def test_{name}_answers_as_the_application_did() -> None:
    method, _, target = REQUEST.partition(" ")
    answer = httpx.request(method, os.environ["CANDIDATE"] + target, timeout=10)
    headers = [(name.lower(), value) for name, value in answer.headers.multi_items()]
    packing = {{"content-encoding", "content-length", "transfer-encoding"}}
    kept = [pair for pair in headers if pair[0] not in packing]
    candidate = Answer(answer.status_code, kept, answer.content)
    found = compare(read_answer(PRIMARY), candidate, Rulebook(DEFAULT_RULES))
    assert not found.unread
    assert not found.differences, "\\n".join(map(str, found.differences))
'''


def as_pytest(pair: Pair) -> str:
    """A module of one test that asks a candidate what *pair* asked, and wants the primary's answer.

    `pair.request` is to be a method and a target, `pair.primary` what `write_answer` wrote. What
    was redacted differs in the test: take it out, or give rules for it.
    """
    name = _NOT_A_NAME.sub("_", pair.endpoint.lower()).strip("_") or "it"
    return _TEMPLATE.format(
        endpoint=pair.endpoint.replace("\\", "/").replace('"', "'"),
        day=pair.seen.date().isoformat(),
        request=pformat(pair.request, width=90),
        primary=pformat(pair.primary, width=90),
        name=name,
    )
