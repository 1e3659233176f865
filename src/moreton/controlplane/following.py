"""Following the store for as long as it takes: an outage is lived through, not died of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Protocol

from moreton.kernel.errors import RetryAdvice
from moreton.kernel.rng import system_rng
from moreton.resilience.core.backoff import Backoff
from moreton.store.errors import AnswerLost, StoreClosed, StoreError

_LOG = logging.getLogger("moreton.controlplane")
# The trouble of a node that cannot reach the store that it shares with others.
CUT_OFF = "cut off from the store"
BACKOFF = Backoff(initial=timedelta(milliseconds=50), cap=timedelta(seconds=2))
_REST_SECONDS = 1.0


class Noting(Protocol):
    """Who is told of troubles."""

    def begin(self, what: str, why: str) -> None:
        """*what* is in trouble because of *why*."""
        ...

    def end(self, what: str) -> None:
        """*what* works again; harmless when it did all the time."""
        ...


class Quiet:
    """Is told and does nothing."""

    def begin(self, what: str, why: str) -> None:
        """Nothing."""

    def end(self, what: str) -> None:
        """Nothing."""


def may_pass(error: StoreError) -> bool:
    """Whether the same may be asked again, as nothing but the store's state is in the way."""
    return error.retry is not RetryAdvice.NEVER or isinstance(error, AnswerLost)


async def keep_following(
    follow: Callable[[Callable[[], None]], Awaitable[None]], *, what: str, troubles: Noting
) -> None:
    """Run *follow* again whenever it fails, mostly by the store; returns when that is closed.

    *follow* is given what to call once it is up to date: that ends the trouble *what*.
    """
    failures = 0
    rng = system_rng()

    def is_fine() -> None:
        nonlocal failures
        failures = 0
        troubles.end(what)

    while True:
        try:
            await follow(is_fine)
        except StoreClosed:
            return
        except StoreError as error:
            troubles.begin(what, str(error))
            failures += 1
            await asyncio.sleep(BACKOFF.seconds(failures, rng))
        except Exception as error:  # noqa: BLE001 - what nobody misses must not end for good
            _LOG.exception("%s failed; it begins anew", what)
            troubles.begin(what, str(error) or type(error).__name__)
            await asyncio.sleep(_REST_SECONDS)


@contextlib.asynccontextmanager
async def in_background(work: Awaitable[None], *, name: str) -> AsyncIterator[None]:
    """*work* as a task of its own, which ends with the block."""
    task = asyncio.ensure_future(work)
    if isinstance(task, asyncio.Task):
        task.set_name(name)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
