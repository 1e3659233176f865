"""Troubles that the control plane lives with, such as a full disk: said, not died of."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from moreton.controlplane.errors import StateFolderUnusable
from moreton.store.errors import StoreError

_LOG = logging.getLogger("moreton.controlplane")


class Troubles:
    """What is wrong now, by what it concerns; each is logged when it begins and when it ends."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    def now(self) -> Mapping[str, str]:
        """What is wrong now."""
        return dict(self._now)

    def begin(self, what: str, why: str) -> None:
        """*what* is in trouble because of *why*."""
        if self._now.get(what) != why:
            _LOG.error("%s: %s", what, why)
        self._now[what] = why

    def end(self, what: str) -> None:
        """*what* works again; harmless when it did all the time."""
        if self._now.pop(what, None) is not None:
            _LOG.info("%s: works again", what)

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Note how the block ends: trouble of a disk is noted and raised, success clears it."""
        try:
            yield
        except (OSError, StoreError, StateFolderUnusable) as error:
            self.begin(what, str(error))
            raise
        self.end(what)
