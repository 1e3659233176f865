"""Migrations in the store: the state of each, its history, and the weights that go with them.

State, history and weights are written in one transaction: whoever reads the store, after
whatever crash, finds the weights that the stage allows, and who may go where beside them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from moreton.controlplane.migrations.copies import Copies
from moreton.controlplane.objects.keys import CHANGED, encode, move_key, weights_key
from moreton.gateway.core.moves import Move, move_document
from moreton.store import Delete, Put
from moreton.store.core.model import Op
from moreton.strangler.rollout.core.documents import (
    entry_document,
    plan_document,
    plan_from,
    progress_document,
    progress_from,
)
from moreton.strangler.rollout.core.plan import Plan
from moreton.strangler.rollout.core.progress import (
    Commit,
    Phase,
    Progress,
    Save,
    copies_of,
    happened,
    move_of,
    share_of,
)

PREFIX = b"/moreton/migrations/"
STATES = PREFIX + b"state/"
HISTORY = PREFIX + b"history/"
# Older entries of a migration's history are dropped.
ENTRIES_MAX = 500
UNDER_WAY = frozenset({Phase.RUNNING, Phase.PAUSED, Phase.FROZEN})
_WEIGHTS_SUM_MAX = 1_000_000
_SUMS = (100, 10_000, _WEIGHTS_SUM_MAX)


@dataclass(frozen=True, slots=True)
class Record:
    """A migration as stored: by which *plan* it goes, how far, how many *entries* there were."""

    plan: Plan
    progress: Progress
    entries: int = 0
    changed: str = ""  # when, in UTC, for people

    @property
    def is_under_way(self) -> bool:
        """Whether it is to be watched."""
        return self.progress.phase in UNDER_WAY


def state_key(name: str) -> bytes:
    """Where the migration *name* lies."""
    return STATES + name.encode()


def history_prefix(name: str) -> bytes:
    """Where its history lies, an entry a key."""
    return HISTORY + name.encode() + b"/"


def weights_of(plan: Plan, share: float) -> dict[str, int]:
    """The weights that give the candidate *share* of the requests.

    Their sum is the same for all shares of *plan*: users are told apart by a hash modulo it, and
    have to stay on their side.
    """
    fractions = [_fraction(each) for each in (share, *(stage.share for stage in plan.stages))]
    total = next(
        each
        for each in _SUMS
        if all((one * each).denominator == 1 for one in fractions) or each == _WEIGHTS_SUM_MAX
    )
    moved = round(fractions[0] * total)
    return {plan.baseline: total - moved, plan.candidate: moved}


def _fraction(share: float) -> Fraction:
    return Fraction(share).limit_denominator(_WEIGHTS_SUM_MAX)


def share_in(plan: Plan, weights: Mapping[str, Any]) -> float:
    """The candidate's share by *weights*."""
    total = sum(weights.values())
    return weights.get(plan.candidate, 0) / total if total else 0.0


def written(
    record: Record,
    effect: Commit | Save,
    now: datetime,
    copies: Copies,
    webhooks: Sequence[str] = (),
) -> tuple[Record, Sequence[Op]]:
    """The record after *effect*, and how it is written, with what *copies* needs for it.

    *webhooks* are to be told of it, by their names.
    """
    if isinstance(effect, Save):
        after = replace(record, progress=effect.progress)
        return after, [Put(state_key(record.plan.name), encode_record(after))]
    when = now.astimezone(UTC).isoformat(timespec="milliseconds")
    number = record.entries + 1
    after = Record(record.plan, effect.progress, number, when)
    name, share = record.plan.name, share_of(record.plan, effect.progress)
    entry = {
        "number": number,
        "id": uuid.uuid4().hex,
        "when": when,
        "kind": happened(record.progress, effect.progress).value,
        "try": effect.progress.tries,
        **entry_document(effect.entry),
        "webhooks": list(webhooks),
    }
    operations: list[Op] = [
        Put(state_key(name), encode_record(after)),
        Put(_entry_key(name, number), json.dumps(entry, separators=(",", ":")).encode()),
        Put(weights_key(record.plan.route), encode(weights_of(record.plan, share))),
        _moved(record.plan.route, move_of(record.plan, effect.progress)),
        *copies.sampling(record.plan.route, copies_of(record.plan, effect.progress)),
        Put(CHANGED, b""),
    ]
    if number > ENTRIES_MAX:
        operations.append(Delete(_entry_key(name, number - ENTRIES_MAX)))
    return after, operations


def _moved(route: str, move: Move | None) -> Op:
    key = move_key(route)
    return Delete(key) if move is None else Put(key, encode(move_document(move)))


def encode_record(record: Record) -> bytes:
    """The value in the store."""
    document = {
        "plan": plan_document(record.plan),
        "progress": progress_document(record.progress),
        "entries": record.entries,
        "changed": record.changed,
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode_record(value: bytes) -> Record | None:
    """The record that `encode_record` wrote; `None` for anything else."""
    try:
        found = json.loads(value)
        plan, progress = plan_from(found["plan"]), progress_from(found["progress"])
        if not 0 <= progress.stage < len(plan.stages):
            return None
        return Record(plan, progress, int(found["entries"]), str(found["changed"]))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _entry_key(name: str, number: int) -> bytes:
    return history_prefix(name) + f"{number:09d}".encode()
