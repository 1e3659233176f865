from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest

from moreton.controlplane.life.memory import Settling

pytestmark = pytest.mark.slow


class Ring:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Iterator[Seconds]:
    made = Seconds()
    settling = Settling(made)
    gc.callbacks.append(settling)
    yield made
    gc.callbacks.remove(settling)
    gc.unfreeze()


def test_what_survives_a_full_collection_is_not_looked_at_again(seconds: Seconds) -> None:
    del seconds
    before = gc.get_freeze_count()
    kept = [Ring() for _ in range(100)]
    gc.collect(1)
    assert gc.get_freeze_count() == before
    gc.collect()
    assert gc.get_freeze_count() >= before + len(kept)


def test_what_becomes_garbage_after_it_survived_is_found_within_the_hour(seconds: Seconds) -> None:
    ring = Ring()
    gone = weakref.ref(ring)
    gc.collect()
    del ring
    gc.collect()
    assert gone() is not None
    seconds.now = 3600.0
    gc.collect()
    assert gone() is None
