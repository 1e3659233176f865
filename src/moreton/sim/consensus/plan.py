"""What one run is like: drawn from its seed, so that the seed alone shows it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from moreton.consensus.core.state import Settings
from moreton.kernel.rng import Rng, seeded_rng
from moreton.sim.network import Faults

MILLISECOND = timedelta(milliseconds=1)
ELECTION_TIMEOUT = 100 * MILLISECOND
# Ten election timeouts bring a leader with a probability of all but certainty: each draws its own
# between one and two, and messages take a twentieth. The rest is for members that change, for
# snapshots, and for reads and writes that clients try again. Measured: see the tests.
LIVENESS_TIMEOUTS = 40
_DRIFT_MAX = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run: the cluster, its clients, and how bad their world is. *_max are upper bounds."""

    seed: int
    voters: int = 3
    learners: int = 0
    clients: int = 3
    keys: int = 2
    settings: Settings = field(
        default_factory=lambda: Settings(
            election_timeout=ELECTION_TIMEOUT, heartbeat_interval=ELECTION_TIMEOUT / 4
        )
    )
    network: Faults = field(default_factory=Faults)
    faults_for: timedelta = 20 * ELECTION_TIMEOUT
    fault_every: timedelta = 60 * MILLISECOND  # on average
    fault_max: timedelta = 3 * ELECTION_TIMEOUT  # until it is taken back
    change_every: timedelta = 250 * MILLISECOND  # of members and leaders, on average
    think_max: timedelta = 30 * MILLISECOND  # between a client's operations
    patience: timedelta = 2 * ELECTION_TIMEOUT  # after which a client gives up waiting
    write_max: timedelta = 8 * MILLISECOND  # for a disk to sync
    apply_max: timedelta = timedelta(0)  # for a state machine to apply; 0: at once
    snapshot_every: int = 20  # entries
    drift_max: float = _DRIFT_MAX
    batching: bool = False  # hosts hand several events to the core at once
    overtaking: bool = False  # only what promises something waits for the disk
    durable: bool = False  # state machines outlive crashes
    reporting: bool = False  # hosts tell the core what was lost, where they know
    wipes: bool = False  # a disk may be lost for good; then members change at the leader only


def draw_plan(seed: int) -> Plan:
    """The plan of *seed*: every kind of fault is on, and everything else varies."""
    rng = seeded_rng(f"plan {seed}")
    return Plan(
        seed=seed,
        voters=3 if rng.random() < 0.6 else 5,
        learners=int(rng.random() < 0.2),
        clients=2 + rng.randrange(3),
        keys=1 + rng.randrange(3),
        settings=_draw_settings(rng),
        network=_draw_network(rng),
        faults_for=(6 + rng.randrange(9)) * ELECTION_TIMEOUT,
        fault_every=(30 + rng.randrange(170)) * MILLISECOND,
        fault_max=(100 + rng.randrange(700)) * MILLISECOND,
        change_every=(100 + rng.randrange(500)) * MILLISECOND,
        write_max=(1 + rng.randrange(20)) * MILLISECOND,
        apply_max=_one_in(rng, 3) * (1 + rng.randrange(10)) * MILLISECOND,
        snapshot_every=5 + rng.randrange(30),
        batching=_one_in(rng, 2),
        overtaking=_one_in(rng, 2),
        durable=_one_in(rng, 4),
        reporting=_one_in(rng, 2),
        wipes=_one_in(rng, 2),
    )


def _draw_settings(rng: Rng) -> Settings:
    # Small limits, so that a short run meets them all.
    check_quorum = not _one_in(rng, 4)
    return Settings(
        election_timeout=ELECTION_TIMEOUT,
        heartbeat_interval=(25 + rng.randrange(16)) * MILLISECOND,
        pre_vote=not _one_in(rng, 8),
        check_quorum=check_quorum,
        lease_reads=check_quorum and _one_in(rng, 2),
        clock_drift_max=_DRIFT_MAX,
        append_bytes_max=100 if _one_in(rng, 3) else 10_000,
        inflight_messages_max=1 + rng.randrange(8),
        uncommitted_bytes_max=500 if _one_in(rng, 4) else 100_000,
        apply_bytes_max=100 if _one_in(rng, 4) else 100_000,
        snapshot_timeout=3 * ELECTION_TIMEOUT,
        kept_entries=rng.randrange(20),
    )


def _draw_network(rng: Rng) -> Faults:
    return Faults(
        lose=0.1 * rng.random(),
        duplicate=0.1 * rng.random(),
        delay_min=MILLISECOND / 2,
        delay_max=(2 + rng.randrange(8)) * MILLISECOND,
        linger=0.05 * rng.random(),
        in_order=_one_in(rng, 3),
    )


def _one_in(rng: Rng, count: int) -> bool:
    return rng.randrange(count) == 0
