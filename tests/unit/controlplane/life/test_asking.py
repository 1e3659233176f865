"""The rate limit service that cannot be started: told, tried again, no trouble once unneeded."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from moreton.controlplane.assembly.troubles import Troubles
from moreton.controlplane.life.asking import Helper, asks
from moreton.controlplane.settings import load_settings

if TYPE_CHECKING:
    from moreton.controlplane.assembly.plane import Plane

FILE = """
version: 1
gateways: {public: {listeners: [{address: 127.0.0.1:8080}]}}
services: {shop: {addresses: [127.0.0.1:8000]}}
routes: {all: {path: /*, to: shop}}
"""
LIMITS = "limits: {api: {by: address, scope: exact, limit: 3/d}}\n"


async def until(is_so: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_what_keeps_it_from_starting_is_told_and_ends_with_the_need(tmp_path: Path) -> None:
    path = tmp_path / "moreton.yaml"
    path.write_text(FILE + LIMITS)
    (tmp_path / ".moreton").touch()  # no folder, so nothing can be remembered in it
    troubles, edit = Troubles(), asyncio.Event()
    plane = SimpleNamespace(settings=load_settings(path), troubles=troubles, next_edit=lambda: edit)
    helper = Helper(
        cast("Plane", plane),
        "limits",
        "rate limit service",
        "rules go by",
        asks,
        lambda _: ["true"],
    )
    keeping = asyncio.create_task(helper.keep())
    await until(troubles.now)
    assert "it cannot be kept, " in troubles.now()["rate limit service"]
    assert not keeping.done(), "it is tried again"
    path.write_text(FILE)
    plane.settings = load_settings(path)
    before, edit = edit, asyncio.Event()
    before.set()
    (tmp_path / ".moreton").unlink()
    await until(lambda: not troubles.now())
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
