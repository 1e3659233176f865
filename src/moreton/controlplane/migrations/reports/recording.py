"""The samples of a migration in the store, for pictures of how it went."""

from __future__ import annotations

import json
from collections.abc import Mapping

from moreton.controlplane.migrations.records import PREFIX, Record
from moreton.kernel.time import Clock, Instant
from moreton.store import Delete, Put, Store, prefix_end
from moreton.store.core.model import Op
from moreton.strangler.rollout.core.progress import share_of
from moreton.strangler.rollout.core.samples import (
    Sample,
    Series,
    sample_document,
    sample_from,
    seconds_of_next,
)
from moreton.strangler.rollout.core.sides import Look

_SAMPLES = PREFIX + b"samples/"


class Recorder:
    """Puts looks together into samples; what is not written yet, some seconds, a crash loses."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._series: dict[str, Series] = {}
        self._open: dict[str, Sample] = {}
        self._looked: dict[str, Instant] = {}

    async def see(self, record: Record, look: Look) -> list[Op]:
        """A *look* was had at the migration of *record*: what is to be written."""
        name = record.plan.name
        if name not in self._series:
            self._series[name] = Series(await read_samples(self._store, name))
        now, before = self._clock.now(), self._looked.get(name)
        self._looked[name] = now
        progress, share = record.progress, share_of(record.plan, record.progress)
        opened = self._open.get(name)
        wall = self._clock.wall().timestamp()
        fresh = Sample(wall, 0.0, progress.tries, progress.stage, share)
        if before is None or opened is None:
            self._open[name] = fresh
            return []
        seconds = (now - before).total_seconds()
        if opened.place != fresh.place:
            self._open[name] = Sample(wall - seconds, 0.0, *fresh.place).plus(look, seconds)
            return self._close(name, opened)
        longer = opened.plus(look, seconds)
        lasted = sum(s.seconds for s in self._series[name].samples() if s.tries == longer.tries)
        if longer.seconds < seconds_of_next(lasted):
            self._open[name] = longer
            return []
        self._open[name] = fresh
        return self._close(name, longer)

    def forget(self, name: str) -> list[Op]:
        """Nobody looks at *name* any more: what of it is to be written."""
        opened = self._open.pop(name, None)
        self._looked.pop(name, None)
        found = self._close(name, opened) if opened is not None else []
        self._series.pop(name, None)
        return found

    def names(self) -> set[str]:
        """Those that were looked at and not forgotten."""
        return set(self._series)

    def _close(self, name: str, sample: Sample) -> list[Op]:
        if not sample.seconds:
            return []
        kept = self._series[name].add(sample)
        puts = [Put(_key(name, number), _encode(each)) for number, each in kept.put.items()]
        return [*puts, *(Delete(_key(name, number)) for number in kept.drop)]


async def read_samples(store: Store, name: str) -> Mapping[int, Sample]:
    """What was seen of the migration *name*, by number, the oldest first."""
    prefix = _SAMPLES + name.encode() + b"/"
    found = await store.range(prefix, prefix_end(prefix))
    samples = {}
    for kv in found.kvs:
        try:
            samples[int(kv.key.removeprefix(prefix))] = sample_from(json.loads(kv.value))
        except (ValueError, KeyError, TypeError):
            continue  # of a later version
    return samples


def _key(name: str, number: int) -> bytes:
    return _SAMPLES + f"{name}/{number:09d}".encode()


def _encode(sample: Sample) -> bytes:
    return json.dumps(sample_document(sample), separators=(",", ":")).encode()
