"""Lets what a request starts in a thread, or hands to a pool, count as the request's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from moreton.strangler.agent.recording import current, explained, into, is_explained
from moreton.strangler.agent.watching.patching import around


def install() -> None:
    """From now on threads and work of pools belong to the request that began them."""
    around(threading.Thread, "start", _start)
    around(ThreadPoolExecutor, "submit", _submit)


def _start(method: Any, thread: threading.Thread) -> None:
    recording, run = current(), thread.run
    whole = explained() if is_explained() else nullcontext()
    # A pool's thread serves whoever comes; each piece of its work says whose it is.
    if recording is not None and not _is_of_a_pool(thread):

        def within() -> None:
            with into(recording), whole:
                run()

        thread.run = within  # type: ignore[method-assign]
    method(thread)


def _is_of_a_pool(thread: threading.Thread) -> bool:
    target = getattr(thread, "_target", None)
    where = getattr(target, "__module__", "") or type(thread).__module__
    return where.startswith(("concurrent.futures", "anyio."))


def _submit(method: Any, pool: Any, work: Any, /, *args: Any, **kwargs: Any) -> Any:
    recording = current()
    if recording is None:
        return method(pool, work, *args, **kwargs)

    def within() -> Any:
        with into(recording):
            return work(*args, **kwargs)

    return method(pool, within)
