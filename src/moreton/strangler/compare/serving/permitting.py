"""Which of the requests that are shown may be asked again, whatever they did."""

from __future__ import annotations

from http import HTTPStatus

from moreton.envoy.core.copies import COPY_HEADER, Shown
from moreton.strangler.compare.core.live import Live


def fits(shown: Shown, live: Live) -> bool:
    """Whether *shown* is one of those that *live* compares, and is known as a whole."""
    cookies = {part.partition("=")[0].strip() for part in shown.header("cookie").split(";") if part}
    return (
        shown.service in {live.primary, ""}
        and shown.method in live.methods
        and shown.body_complete
        and shown.status not in {0, HTTPStatus.SWITCHING_PROTOCOLS}
        and not shown.header(COPY_HEADER)
        and not cookies & live.apart
    )
