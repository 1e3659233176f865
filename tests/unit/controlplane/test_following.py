"""What follows the store for as long as it takes, whatever fails it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import pytest

from moreton.controlplane import following
from moreton.controlplane.assembly.troubles import Troubles
from moreton.controlplane.following import keep_following
from moreton.store.errors import StoreClosed


async def test_fault_of_ours_is_told_and_what_it_ended_begins_anew(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(following, "_REST_SECONDS", 0.0)
    troubles = Troubles()
    seen: list[list[str]] = []

    async def follow(is_fine: Callable[[], None]) -> None:
        seen.append(list(troubles.now()))
        if len(seen) == 1:
            raise RuntimeError("broken")
        is_fine()
        seen.append(list(troubles.now()))
        raise StoreClosed

    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(30):
            await keep_following(follow, what="following", troubles=troubles)
    assert seen == [[], ["following"], []]
    assert "following failed; it begins anew" in caplog.text
    assert "broken" in caplog.text
