"""How etcd writes what nodes hold and say: its `raft/util.go` and `raft/tracker`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from moreton.consensus.core.configuration import decode_change
from moreton.consensus.core.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Configuration,
    Entry,
    EntryKind,
    ForwardProposal,
    ForwardRead,
    ForwardReadResponse,
    ForwardTransfer,
    HardState,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    NodeId,
    RequestVote,
    RequestVoteResponse,
    SnapshotMeta,
    TimeoutNow,
)
from moreton.consensus.core.progress import Progress, ProgressState
from moreton.consensus.core.state import Role

STATES = {
    ProgressState.PROBE: "StateProbe",
    ProgressState.REPLICATE: "StateReplicate",
    ProgressState.SNAPSHOT: "StateSnapshot",
}
ROLES = {
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
    Role.LEADER: "StateLeader",
}
# etcd has two kinds of entries for changes, we have one: this context stands for the older kind.
V1_CONTEXT = b"v1"

_KINDS: dict[type[Message], str] = {
    AppendEntries: "MsgApp",
    AppendEntriesResponse: "MsgAppResp",
    Heartbeat: "MsgHeartbeat",
    HeartbeatResponse: "MsgHeartbeatResp",
    InstallSnapshot: "MsgSnap",
    TimeoutNow: "MsgTimeoutNow",
    ForwardProposal: "MsgProp",
    ForwardRead: "MsgReadIndex",
    ForwardReadResponse: "MsgReadIndexResp",
    ForwardTransfer: "MsgTransferLeader",
}


def kind_of(message: Message) -> str:
    """Such as `MsgApp`."""
    if isinstance(message, RequestVote):
        return "MsgPreVote" if message.pre else "MsgVote"
    if isinstance(message, RequestVoteResponse):
        return "MsgPreVoteResp" if message.pre else "MsgVoteResp"
    return _KINDS[type(message)]


def message_words(message: Message, *, newer: bool = False) -> str:
    """Such as `1->2 MsgApp Term:1 Log:1/2 Commit:2 Entries:[1/3 EntryNormal ""]`.

    *newer* versions of etcd write several entries, and a snapshot, on lines of their own.
    """
    term, index, rest = 0, 0, ""
    match message:
        case RequestVote():
            term, index = message.last_term, message.last_index
        case RequestVoteResponse():
            rest = "" if message.granted else " Rejected (Hint: 0)"
        case AppendEntries():
            term, index = message.prev_term, message.prev_index
            rest = f" Commit:{message.commit}" if message.commit else ""
            if message.entries:
                rest += f" Entries:{_entries_words(message.entries, newer=newer)}"
        case AppendEntriesResponse():
            term, index = message.hint_term, message.index
            rest = f" Rejected (Hint: {message.hint_index})" if message.rejected else ""
        case Heartbeat():
            rest = f" Commit:{message.commit}" if message.commit else ""
        case InstallSnapshot():
            rest = "\n  " if newer else " "
            rest += f"Snapshot: {snapshot_words(message.snapshot)}"
        case ForwardProposal():
            rest = f" Entries:{_entries_words(message.entries, newer=newer)}"
    shown = 0 if isinstance(message, ForwardProposal) else message.term
    head = f"{message.source}->{message.target} {kind_of(message)}"
    return f"{head} Term:{shown} Log:{term}/{index}{rest}"


def _entries_words(entries: Sequence[Entry], *, newer: bool) -> str:
    if newer and len(entries) > 1:
        return "[" + "".join(f"\n  {entry_words(entry)}" for entry in entries) + "\n]"
    return f"[{', '.join(map(entry_words, entries))}]"


def entry_words(entry: Entry) -> str:
    """Such as `1/4 EntryConfChangeV2 v2 v3`."""
    place = f"{entry.term}/{entry.index}"
    if entry.kind is not EntryKind.CONFIGURATION:
        return f"{place} EntryNormal {json.dumps(entry.data.decode())}"
    change = decode_change(entry.data)
    kind = "EntryConfChange" if change.context == V1_CONTEXT else "EntryConfChangeV2"
    words = [f"{one.kind.value}{one.node}" for one in change.changes]
    return " ".join([place, kind, *words])


def hard_state_words(state: HardState) -> str:
    """Such as `Term:1 Vote:1 Commit:2`."""
    vote = f" Vote:{state.vote}" if state.vote is not None else ""
    return f"Term:{state.term}{vote} Commit:{state.commit}"


def snapshot_words(snapshot: SnapshotMeta) -> str:
    """Such as `Index:4 Term:1 ConfState:Voters:[1 2] ...`."""
    one = snapshot.configuration
    return (
        f"Index:{snapshot.index} Term:{snapshot.term} ConfState:"
        f"Voters:{_list(one.voters)} VotersOutgoing:{_list(one.outgoing)} "
        f"Learners:{_list(one.learners)} LearnersNext:{_list(one.learners_next)} "
        f"AutoLeave:{str(one.auto_leave).lower()}"
    )


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


def _list(nodes: Iterable[NodeId]) -> str:
    return f"[{' '.join(map(str, sorted(nodes)))}]"
