"""Runs of real processes over TCP, some of them killed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

from moreton.cli.ring.drawing import Spot
from moreton.cli.ring.report import Report
from moreton.cli.ring.screen import Screen
from moreton.cli.ring.settings import Wanted
from moreton.election.ring import RingProcesses, StoreClaims, Uid
from moreton.election.ring.processes import MemberProcess
from moreton.store import open_store

_RING = "moreton-ring-run"


def run_processes(wanted: Wanted, screen: Screen) -> Report:
    """Start them, wait, kill, wait again. Raises `RingUndecided` and the store's errors."""
    return asyncio.run(_run(wanted, screen))


async def _run(wanted: Wanted, screen: Screen) -> Report:
    if wanted.store is None:
        return await _elect(wanted, None, screen)
    store = open_store(wanted.store)
    try:
        claims = StoreClaims(store, _RING)
        held = await claims.holder()
        # The epoch grows with each run, so that nobody is taken for who it was in an earlier one.
        boot = 0 if held is None else held.epoch
        booted = replace(wanted, uids=tuple(uid._replace(boot=boot) for uid in wanted.uids))
        return await _elect(booted, claims, screen)
    finally:
        await store.close()


async def _elect(wanted: Wanted, claims: StoreClaims | None, screen: Screen) -> Report:
    report = Report(wanted)
    began = time.monotonic()

    def changed() -> None:
        spots = [_spot(ring.members.get(uid), uid) for uid in wanted.uids]
        screen.show(spots, (), [f"{time.monotonic() - began:.1f} s"])

    ring = RingProcesses(
        _RING, wanted.uids, claims=claims, algorithm=wanted.algorithm, changed=changed
    )
    async with ring:
        await _agree(ring, report)
        if wanted.kill:
            for uid in wanted.victims(report.decisions[0].leader):
                await ring.kill(uid)
                report.killed.append(uid.priority)
            await _agree(ring, report)
    return report


async def _agree(ring: RingProcesses, report: Report) -> None:
    began = time.monotonic()
    report.decisions.append(await ring.wait_agreed())
    report.milliseconds.append((time.monotonic() - began) * 1000)


def _spot(member: MemberProcess | None, uid: Uid) -> Spot:
    label = str(uid.priority)
    if member is None or not member.address:
        return Spot(label, "asleep")
    if not member.is_alive:
        return Spot(label, "dead")
    if member.decision is None:
        return Spot(label, "undecided")
    return Spot(label, "leader" if member.decision.leader == uid else "follower")
