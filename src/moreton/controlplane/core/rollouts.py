"""Starting the instances of a service anew, a few at a time: what is next, and when to stop."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from moreton.kernel.quantities import format_duration
from moreton.registry.core.changes import serving
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.instructions import Instruction, Phase
from moreton.registry.core.standing import InstanceSource, InstanceState

PREFIX = b"/moreton/rollouts/"
# Whoever runs the program hears of it at once, unless it is of an older version or cut off.
HEARD_WITHIN = timedelta(seconds=20)
_EVER = datetime.min.replace(tzinfo=UTC)
TELLABLE = frozenset({InstanceSource.RUN})


class RolloutState(StrEnum):
    """How a rollout is."""

    RUNNING = "running"
    STOPPED = "stopped"  # one did not come back; it can be gone on with
    DONE = "done"
    ABANDONED = "abandoned"


class Stage(StrEnum):
    """How far one instance has come."""

    WAITING = "waiting"
    RESTARTING = "restarting"
    DONE = "done"
    FAILED = "failed"
    GONE = "gone"  # it left before its turn


@dataclass(frozen=True, slots=True)
class Rollout:
    """A rollout of *service*: *ids* in their order, *batch* at a time, each within *limit*."""

    token: str
    service: str
    ids: tuple[str, ...]
    started: datetime
    by: str = ""
    batch: int = 1
    limit: timedelta = timedelta(minutes=2)
    force: bool = False
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""

    @property
    def is_open(self) -> bool:
        """Whether it can be gone on with."""
        return self.state in {RolloutState.RUNNING, RolloutState.STOPPED}


@dataclass(frozen=True, slots=True)
class Standing:
    """How far the instance *id* has come, and a word on it for people."""

    id: str
    stage: Stage
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done now: tell those who run *ask* to start them anew, note the *state*."""

    standings: tuple[Standing, ...]
    ask: tuple[str, ...] = ()
    state: RolloutState = RolloutState.RUNNING
    reason: str = ""


def next_step(
    rollout: Rollout,
    instances: Mapping[InstanceId, Instance],
    instructions: Mapping[InstanceId, Instruction],
    now: datetime,
    *,
    began: datetime = _EVER,
) -> Step:
    """What follows from how the *instances* of the service are and what became of *instructions*.

    *began* is when this control plane did: before that, nobody could hear or tell it anything.

    Never takes the last one that serves, unless the rollout is by force; stops at the first that
    does not come back. Asking again for what was asked is harmless: the token is the same.
    """
    found = tuple(
        _standing(rollout, each, instances.get(InstanceId(each)), instructions, (now, began))
        for each in rollout.ids
    )
    if rollout.state is not RolloutState.RUNNING:
        return Step(found, state=rollout.state, reason=rollout.reason)
    failed = next((each for each in found if each.stage is Stage.FAILED), None)
    if failed is not None:
        reason = f'instance "{failed.id}" did not come back: {failed.detail}'
        return Step(found, state=RolloutState.STOPPED, reason=reason)
    busy = [each.id for each in found if each.stage is Stage.RESTARTING]
    waiting = [each.id for each in found if each.stage is Stage.WAITING]
    if not busy and not waiting:
        return Step(found, state=RolloutState.DONE)
    ask = waiting[: max(0, rollout.batch - len(busy))]
    if not rollout.force:
        kept = len([x for x in serving(instances.values()) if x.id not in busy])
        outs = [x for x in ask if instances[InstanceId(x)].state is InstanceState.SERVING]
        room = max(0, kept - 1)
        if len(outs) > room:
            outs, ask = outs[:room], [x for x in ask if x in outs[:room] or x not in outs]
        if not ask and not busy and waiting:
            reason = (
                f'instance "{waiting[0]}" is the last that serves: every request would fail while '
                "it starts anew"
            )
            return Step(found, state=RolloutState.STOPPED, reason=reason)
    return Step(found, ask=tuple(ask))


def _standing(
    rollout: Rollout,
    instance_id: str,
    instance: Instance | None,
    instructions: Mapping[InstanceId, Instruction],
    times: tuple[datetime, datetime],
) -> Standing:
    told = instructions.get(InstanceId(instance_id))
    if told is None or told.token != rollout.token:
        return Standing(instance_id, Stage.WAITING if instance is not None else Stage.GONE)
    if told.phase is Phase.FAILED:
        return Standing(instance_id, Stage.FAILED, told.detail)
    if told.phase is Phase.DONE and instance is not None:
        if instance.state is InstanceState.SERVING:
            return Standing(instance_id, Stage.DONE)
        if instance.order is not None:  # somebody keeps it out, and was not asked
            return Standing(instance_id, Stage.DONE, _why_out(instance))
    word = str(told.phase)
    if told.phase is Phase.DONE:
        word = "not registered any more" if instance is None else _why_out(instance)
    late = _lateness(rollout, told, instance, word, times)
    return Standing(instance_id, Stage.FAILED if late else Stage.RESTARTING, late or word)


def _lateness(
    rollout: Rollout,
    told: Instruction,
    instance: Instance | None,
    word: str,
    times: tuple[datetime, datetime],
) -> str:
    """Why nothing is to be hoped for any more; empty while something is."""
    now, began = times
    if told.phase is Phase.ASKED and now - max(told.asked, began) > HEARD_WITHIN:
        return (
            "nobody heard of it: its `moreton run` ended, cannot reach the control plane, or is of "
            "an older version"
        )
    held = told.phase in {Phase.DRAINING, Phase.STOPPING}  # then it stays registered
    if instance is None and held and now - max(told.since, began) > HEARD_WITHIN:
        return f"while {word}, its `moreton run` ended"
    if now - told.asked > rollout.limit:
        return f"after {format_duration(rollout.limit)} it is {word}"
    return ""


def _why_out(instance: Instance) -> str:
    return f"{instance.state}" + (f", {instance.reason}" if instance.reason else "")


def rollout_key(service: str) -> bytes:
    """Where the latest rollout of *service* lies."""
    return PREFIX + service.encode()


def encode(rollout: Rollout) -> bytes:
    """The value in the store."""
    document = {
        **asdict(rollout),
        "started": rollout.started.astimezone(UTC).isoformat(timespec="milliseconds"),
        "limit": rollout.limit.total_seconds(),
    }
    return json.dumps(document, separators=(",", ":")).encode()


def decode(value: bytes) -> Rollout | None:
    """The rollout that `encode` wrote; `None` for anything else."""
    try:
        found = json.loads(value)
        return Rollout(
            token=found["token"],
            service=found["service"],
            ids=tuple(found["ids"]),
            started=datetime.fromisoformat(found["started"]),
            by=found["by"],
            batch=found["batch"],
            limit=timedelta(seconds=found["limit"]),
            force=found["force"],
            state=RolloutState(found["state"]),
            reason=found["reason"],
        )
    except (ValueError, KeyError, TypeError):
        return None


def to_document(rollout: Rollout, step: Step) -> dict[str, Any]:
    """A rollout and how far it has come, as JSON values."""
    now = replace(rollout, state=step.state, reason=step.reason)
    return {
        "token": now.token,
        "service": now.service,
        "state": now.state.value,
        "reason": now.reason,
        "by": now.by,
        "started": now.started.astimezone(UTC).isoformat(timespec="milliseconds"),
        "batch": now.batch,
        "total": len(now.ids),
        "done": len([x for x in step.standings if x.stage in {Stage.DONE, Stage.GONE}]),
        "instances": [
            {"id": each.id, "stage": each.stage.value, "detail": each.detail}
            for each in step.standings
        ],
    }
