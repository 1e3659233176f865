"""One run: faults for a while, then peace, in which the cluster must come to rest in time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from moreton.consensus.core.node import RaftNode
from moreton.kernel.rng import seeded_rng
from moreton.sim.consensus.cluster import Cluster, Core
from moreton.sim.consensus.nemesis import Nemesis
from moreton.sim.consensus.operator import Operator
from moreton.sim.consensus.plan import ELECTION_TIMEOUT, LIVENESS_TIMEOUTS, Plan
from moreton.sim.linearizability import CasRegister, HistoryUndecided, check_history
from moreton.sim.world import WorldFault


class ClusterFault(AssertionError):
    """A run in which a promise was broken; the message begins with its seed."""

    def __init__(self, seed: int, what: str, trace: list[str]) -> None:
        self.seed = seed
        self.trace = trace
        super().__init__(f"seed {seed}: {what}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened in a run that broke no promise.

    *timeouts* is how many election timeouts it took from the last fault until every client was
    served and every member had the same state.
    """

    seed: int
    counts: Counter[str]
    operations: int
    unknown: int
    timeouts: float
    trace: list[str]


def run_plan(plan: Plan, core: Core = RaftNode, *, tracing: bool = False) -> Outcome:
    """Run *plan* with nodes of *core*. Deterministic.

    Raises `ClusterFault` when a property of safety is violated at any step, the clients' history
    is not linearizable, or the cluster does not come to rest.
    """
    cluster = Cluster(plan, core, tracing=tracing)
    try:
        timeouts = _live(cluster)
        return _outcome(cluster, timeouts)
    except WorldFault as fault:
        what = str(fault).split("\n", 1)[0].removeprefix(f"seed {plan.seed}: ")
        raise ClusterFault(plan.seed, what, cluster.world.trace) from None
    except Exception as error:  # whatever it is, a node must not raise it
        raise ClusterFault(plan.seed, f"a node gave up: {error}", cluster.world.trace) from error


def _live(cluster: Cluster) -> float:
    plan = cluster.plan
    nemesis = Nemesis(cluster, seeded_rng(f"nemesis {plan.seed}"))
    operator = Operator(cluster, seeded_rng(f"operator {plan.seed}"))
    cluster.clients.start()
    cluster.world.run(2 * ELECTION_TIMEOUT)
    nemesis.start()
    operator.start()
    cluster.world.run(plan.faults_for)
    nemesis.stop()
    operator.settle()
    cluster.clients.served.clear()
    stopped = False
    for half in range(2 * LIVENESS_TIMEOUTS):
        cluster.world.run(ELECTION_TIMEOUT / 2)
        if not stopped:
            stopped = len(cluster.clients.served) == plan.clients and operator.is_done
            if stopped:
                cluster.clients.stop()
        elif _is_at_rest(cluster):
            return (half + 1) / 2
    cluster.world.fail(
        f"{LIVENESS_TIMEOUTS} election timeouts after the last fault {_unrest(cluster, stopped)}"
    )
    raise AssertionError  # fail has raised


def _is_at_rest(cluster: Cluster) -> bool:
    leader = cluster.leader()
    if leader is None:
        return False
    hosts = [cluster.host(node) for node in cluster.safety.configuration.members()]
    return all(
        host is not None
        and host.machine.applied == cluster.safety.committed == host.core.state.log.last_index
        for host in hosts
    )


def _unrest(cluster: Cluster, served: bool) -> str:  # noqa: FBT001 - says one of two things
    if not served:
        served_now = sorted(cluster.clients.served)
        return f"only clients {served_now} were served, leader {cluster.leader()}"
    return "members still differ"


def _outcome(cluster: Cluster, timeouts: float) -> Outcome:
    calls = cluster.clients.recorder.calls()
    try:
        verdict = check_history(calls, CasRegister())
    except HistoryUndecided as undecided:
        cluster.world.fail(str(undecided))
        raise
    if not verdict.is_linearizable:
        cluster.world.fail(f"the history is not linearizable: {verdict}")
    counts = cluster.counts + cluster.safety.counts + cluster.clients.counts
    counts += cluster.world.network.counts
    for node in cluster.world.nodes.values():
        counts["records lost"] += node.disk.lost
        counts["records torn"] += node.disk.torn
    return Outcome(
        cluster.plan.seed, counts, len(calls), verdict.unknown, timeouts, cluster.world.trace
    )
