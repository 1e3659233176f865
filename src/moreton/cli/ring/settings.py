"""What `moreton ring run` was asked for, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import typer

from moreton.election.ring.core.algorithms import Algorithm
from moreton.election.ring.core.ring import Uid, check_unique
from moreton.kernel.rng import seeded_rng

NODES_MAX = 10_000
# Each process is a Python of its own; bully sends up to n**2 messages.
PROCESSES_MAX = 64
BULLY_NODES_MAX = 1_000
REPAIRED_NODES_MAX = 200


@dataclass(frozen=True, slots=True)
class Wanted:
    """One run. *uids* are in clockwise order; *initiators* are positions, all when `None`."""

    algorithm: Algorithm
    uids: tuple[Uid, ...]
    initiators: tuple[int, ...] | None
    kill: int
    processes: bool
    store: str | None
    watch: bool
    seed: int

    def victims(self, leader: Uid) -> list[Uid]:
        """Who is killed after *leader* was decided: it, and others drawn by the seed."""
        others = [uid for uid in self.uids if uid != leader]
        seeded_rng(f"{self.seed} victims").shuffle(others)
        return [leader, *others][: self.kill]


def uids_of(listed: str | None, nodes: int, seed: int) -> tuple[Uid, ...]:
    """Those *listed*, else 1 to *nodes* in an order drawn by *seed*. Raises `DuplicateUid`."""
    if listed is None:
        numbers = list(range(1, nodes + 1))
        seeded_rng(seed).shuffle(numbers)
    else:
        try:
            numbers = [int(word) for word in listed.split(",")]
        except ValueError as error:
            message = f"{listed!r} is not a list of whole numbers; write one like 3,17,5"
            raise typer.BadParameter(message, param_hint="--uids") from error
    uids = tuple(Uid(number) for number in numbers)
    check_unique(uids)
    return uids


def initiators_of(initiators: int | None, uids: Sequence[Uid], seed: int) -> tuple[int, ...] | None:
    """So many positions drawn by *seed*; `None` for all."""
    if initiators is None:
        return None
    if not 1 <= initiators <= len(uids):
        message = f"{initiators} of {len(uids)} nodes cannot begin; choose 1 to {len(uids)}"
        raise typer.BadParameter(message, param_hint="--initiators")
    order = list(range(len(uids)))
    seeded_rng(f"{seed} initiators").shuffle(order)
    return tuple(sorted(order[:initiators]))


def check_size(wanted: Wanted) -> None:
    """Raises `typer.BadParameter` for more nodes than such a run can have, or all killed."""
    nodes = len(wanted.uids)
    limit, why = NODES_MAX, "are simulated"
    if wanted.processes:
        limit, why = PROCESSES_MAX, "run as processes"
    elif wanted.kill:
        limit, why = REPAIRED_NODES_MAX, "are simulated with members that die"
    elif wanted.algorithm is Algorithm.BULLY:
        limit, why = BULLY_NODES_MAX, "are simulated with bully, which sends up to n**2 messages"
    if not 1 <= nodes <= limit:
        message = f"{nodes} nodes are not possible: 1 to {limit:,} {why}"
        raise typer.BadParameter(message, param_hint="--nodes")
    if wanted.kill >= nodes:
        message = f"{wanted.kill} of {nodes} nodes cannot die: nobody would be left to lead"
        raise typer.BadParameter(message, param_hint="--kill")
    if wanted.store is not None and not wanted.processes:
        message = "a simulated ring decides nothing; add --processes or leave --store out"
        raise typer.BadParameter(message, param_hint="--store")
    if wanted.initiators is not None and (wanted.processes or wanted.kill):
        message = "in a ring that repairs itself every member begins; leave --initiators out"
        raise typer.BadParameter(message, param_hint="--initiators")
