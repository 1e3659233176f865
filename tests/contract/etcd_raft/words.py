"""How etcd writes configurations and a leader's view of its followers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.core.progress import Progress, ProgressState

STATES = {
    ProgressState.PROBE: "StateProbe",
    ProgressState.REPLICATE: "StateReplicate",
    ProgressState.SNAPSHOT: "StateSnapshot",
}


def configuration_words(configuration: Configuration) -> str:
    """Such as `voters=(1 2)&&(1) learners=(3) learners_next=(4) autoleave`."""
    words = f"voters={_set(configuration.voters)}"
    if configuration.outgoing:
        words += f"&&{_set(configuration.outgoing)}"
    if configuration.learners:
        words += f" learners={_set(configuration.learners)}"
    if configuration.learners_next:
        words += f" learners_next={_set(configuration.learners_next)}"
    return words + (" autoleave" if configuration.auto_leave else "")


def progress_lines(progress: Mapping[NodeId, Progress], configuration: Configuration) -> list[str]:
    """A line for each member, such as `2: StateReplicate match=11 next=12`."""
    return [
        f"{node}: {progress_words(one, learner=node in configuration.learners)}"
        for node, one in sorted(progress.items())
    ]


def progress_words(progress: Progress, *, learner: bool) -> str:
    """Such as `StateSnapshot match=0 next=11 learner paused pendingSnap=11`."""
    words = [STATES[progress.state], f"match={progress.match}", f"next={progress.next}"]
    if learner:
        words.append("learner")
    if progress.paused:
        words.append("paused")
    if progress.pending_snapshot:
        words.append(f"pendingSnap={progress.pending_snapshot}")
    if not progress.recently_active:
        words.append("inactive")
    if len(progress.inflights):
        words.append(f"inflight={len(progress.inflights)}")
        if progress.inflights.full:
            words[-1] += "[full]"
    return " ".join(words)


def _set(nodes: Iterable[NodeId]) -> str:
    return f"({' '.join(map(str, sorted(nodes)))})"
