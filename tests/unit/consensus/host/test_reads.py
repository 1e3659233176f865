from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.consensus.host.errors import NoLeader
from moreton.consensus.host.reads import Reads
from moreton.consensus.host.settings import HostSettings
from moreton.kernel.time import Instant

NOW = Instant(0)
TIMEOUT = timedelta(seconds=10)


async def test_read_that_is_late_when_its_question_is_to_be_asked_again_counts_once() -> None:
    reads = Reads(1, 7, settings=HostSettings(), again_after=timedelta(seconds=1))
    late = reads.add(now=NOW, timeout=TIMEOUT)
    given_up = reads.add(now=NOW, timeout=TIMEOUT)
    assert len(list(reads.take(NOW))) == 1
    given_up.cancel()
    reads.sweep(NOW + TIMEOUT)
    assert len(reads) == 0
    with pytest.raises(NoLeader):
        late.result()
    reads.add(now=NOW + TIMEOUT, timeout=TIMEOUT).cancel()
    assert len(reads) == 1
    reads.sweep(NOW + TIMEOUT)
    assert len(reads) == 0
