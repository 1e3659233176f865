"""The terminal while a ring runs: its newest picture, in place."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Group
from rich.live import Live

from moreton.cli.output import console
from moreton.cli.ring.drawing import Flying, Size, Spot, draw_ring, legend

_PICTURE_SECONDS = 0.2


class Screen:
    """Shows pictures while *is_watched*, slowly enough to be seen when *paced*."""

    def __init__(self, *, watch: bool, paced: bool) -> None:
        self._console = console()
        self.is_watched = watch and self._console.is_terminal
        self._paced = paced
        self._live: Live | None = None

    @property
    def size(self) -> Size:
        """How large a picture may be; in a file, as large as usual."""
        if not self._console.is_terminal:
            return Size()
        return Size.of(self._console.width, self._console.height)

    def __enter__(self) -> Self:
        """Begin to draw."""
        if self.is_watched:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the picture away."""
        if self._live is not None:
            self._live.stop()

    def show(self, spots: Sequence[Spot], flying: Iterable[Flying], inside: Sequence[str]) -> None:
        """Draw a picture, if somebody watches."""
        if self._live is not None:
            drawn = draw_ring(spots, flying, inside=inside, size=self.size)
            self._live.update(Group(drawn, legend()), refresh=True)
            if self._paced:
                time.sleep(_PICTURE_SECONDS)
