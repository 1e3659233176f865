"""Regressions, each a way in which a candidate answers otherwise than it should."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bench.recall.seeded.earlier import EARLIER
from bench.recall.seeded.heads import HEADS
from bench.recall.seeded.held_out import HELD_OUT
from bench.recall.seeded.hidden import HIDDEN
from bench.recall.seeded.pages import PAGES
from bench.recall.seeded.seed import Regression
from bench.recall.seeded.values import VALUES

_LOOKED_AT = (*VALUES, *PAGES, *HEADS, *HIDDEN, *EARLIER)
REGRESSIONS: Mapping[str, Regression] = {
    one.name: one for one in (*_LOOKED_AT, *(replace(one, held_out=True) for one in HELD_OUT))
}
