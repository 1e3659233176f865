"""Reads that wait, without a node."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from moreton.consensus.host.errors import NoLeader
from moreton.consensus.host.reads import Reads
from moreton.consensus.host.settings import HostSettings
from moreton.kernel.time import Instant

START, SECOND = Instant(1_000_000_000), timedelta(seconds=1)


async def test_a_read_that_is_late_when_its_question_is_to_be_asked_again_counts_once() -> None:
    reads = Reads(1, 7, settings=HostSettings(), again_after=SECOND)
    late = reads.add(now=START, timeout=SECOND)
    patient = reads.add(now=START, timeout=10 * SECOND)
    assert len(list(reads.take(START))) == 1
    reads.sweep(START + SECOND)
    assert len(reads) == 1
    with pytest.raises(NoLeader):
        await late
    (context,) = reads.take(START + SECOND)
    reads.answered(context, 5, applied=5)
    await patient
    assert len(reads) == 0


async def test_a_read_that_was_given_up_counts_no_more() -> None:
    reads = Reads(1, 7, settings=HostSettings(), again_after=SECOND)
    read = reads.add(now=START, timeout=10 * SECOND)
    assert len(list(reads.take(START))) == 1
    read.cancel()
    await asyncio.sleep(0)
    reads.sweep(START + SECOND)
    reads.sweep(START + 2 * SECOND)
    assert len(reads) == 0
