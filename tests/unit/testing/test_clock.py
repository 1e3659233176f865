from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.kernel.time import Clock
from moreton.testing import VirtualClock


def test_virtual_clock_moves_only_when_told() -> None:
    clock: Clock = VirtualClock()
    assert clock.now() == clock.now()
    before = clock.now(), clock.wall()
    assert isinstance(clock, VirtualClock)
    clock.advance(timedelta(hours=1))
    assert clock.now() - before[0] == clock.wall() - before[1] == timedelta(hours=1)


def test_virtual_clock_never_goes_back_but_its_calendar_may() -> None:
    clock = VirtualClock()
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(timedelta(seconds=-1))
    now, wall = clock.now(), clock.wall()
    clock.jump(timedelta(minutes=-10))
    assert clock.now() == now
    assert wall - clock.wall() == timedelta(minutes=10)
