"""The troubles of a store that is a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from moreton.kernel.errors import RetryAdvice
from moreton.store.core.errors import AnswerLost, StoreError

__all__ = [
    "AddressNotUsable",
    "AddressTaken",
    "BadRaftUrl",
    "ClocksApart",
    "ClusterRefused",
    "ClusterUnreachable",
    "LastVoter",
    "MajorityAtRisk",
    "NodeBusy",
    "NodeFolderDamaged",
    "NodeFolderTaken",
    "NodeFolderUnusable",
    "NodeLeft",
    "NodeStopped",
    "NodeUnreachable",
    "NotANodeFolder",
    "RaftAnswerLost",
    "SecretExposed",
    "SecretFileUnreadable",
    "SecretRefused",
    "SnapshotDamaged",
    "SnapshotExpired",
    "SnapshotNotWritten",
    "TlsIncomplete",
    "UnknownMember",
]


class BadRaftUrl(StoreError):
    """An address that begins like a node's and cannot be understood."""

    code = "store-raft-bad-url"

    def __init__(self, *, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"{url!r} is not the address of a node's folder, {reason}: the store cannot be opened; "
            "write raft:///relative/folder or raft:////absolute/folder, with ?reads= and ?timeout="
        )


class ClusterUnreachable(StoreError):
    """No leader took the request in time: no majority of the cluster can be reached."""

    code = "store-raft-no-majority"
    retry = RetryAdvice.AFTER

    def __init__(self, *, node: int, waited: timedelta, reason: str) -> None:
        self.node = node
        self.waited = waited
        super().__init__(
            f"node {node} found no majority of its cluster within {waited.total_seconds():g} s, "
            f"{reason}: nothing was read or written; see moreton cluster status, and start the "
            "nodes that are down"
        )


class NodeBusy(StoreError):
    """More waits at the node of this program than it takes in. Nothing was done."""

    code = "store-raft-busy"
    retry = RetryAdvice.AFTER

    def __init__(self, *, node: int, reason: str) -> None:
        super().__init__(f"node {node} takes in no more, {reason}: it was not done; try it later")


class RaftAnswerLost(AnswerLost):
    """A write was not answered in time: it may have happened, or may yet, but once at most."""

    code = "store-raft-answer-lost"

    def __init__(self, *, node: int, reason: str) -> None:
        self.node = node
        super().__init__(
            f"node {node} did not learn what became of a write, {reason}: it may have happened or "
            "may happen yet, once at most; read what is there, then decide"
        )


class NodeStopped(StoreError):
    """The node of this program ended by itself: its disk failed, or it was removed."""

    code = "store-raft-node-stopped"

    def __init__(self, *, node: int, reason: str) -> None:
        self.node = node
        self.reason = reason
        super().__init__(
            f"node {node} has stopped, {reason}: nothing more is read or written here, the other "
            "nodes go on; mend the cause, then start it again"
        )


class NodeLeft(StoreError):
    """The node of this program was removed from its cluster."""

    code = "store-raft-node-left"

    def __init__(self, *, node: int) -> None:
        self.node = node
        super().__init__(
            f"node {node} was removed from its cluster: nothing is read or written here any more; "
            "stop it and delete its folder; to come back, join in an empty folder as a new node"
        )


class NodeFolderError(StoreError):
    """The root of the errors of a node's folder."""

    def __init__(self, message: str, *, folder: Path) -> None:
        self.folder = folder
        super().__init__(message)


class NotANodeFolder(NodeFolderError):
    """Nobody made the folder the home of a node."""

    code = "cluster-not-a-node"

    def __init__(self, *, folder: Path) -> None:
        super().__init__(
            f"{folder} is not the folder of a node: nothing can be started or asked there; make "
            "one by moreton cluster init, or by moreton cluster join if the cluster exists",
            folder=folder,
        )


class NodeFolderTaken(NodeFolderError):
    """The folder that a new node was to have holds something already."""

    code = "cluster-folder-taken"

    def __init__(self, *, folder: Path, holds: str) -> None:
        self.holds = holds
        super().__init__(
            f"{folder} holds {holds} already: it was left untouched, no node was made; choose "
            "another folder, or delete this one if its node has left for good",
            folder=folder,
        )


class NodeFolderDamaged(NodeFolderError):
    """What says who the node is cannot be read."""

    code = "cluster-folder-damaged"

    def __init__(self, *, folder: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the folder {folder} does not say any more which node it is, {reason}: it was not "
            "started; put the file back from a copy, or let the node leave by another one and "
            "join again in an empty folder",
            folder=folder,
        )


class NodeFolderUnusable(NodeFolderError):
    """The folder cannot be made, read or written."""

    code = "cluster-folder-unusable"

    def __init__(self, *, folder: Path, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the folder {folder} cannot be used, {reason}: no node was made or started there; "
            "check the path, its rights and the disk",
            folder=folder,
        )


class SecretExposed(NodeFolderError):
    """Others than the owner may read or write the cluster's secret."""

    code = "cluster-secret-exposed"

    def __init__(self, *, folder: Path, file: Path, mode: int) -> None:
        self.file = file
        super().__init__(
            f"the cluster secret {file} may be read or changed by others (mode {mode:04o}): the "
            f"node was not started; run chmod 600 {file}, and change the secret if somebody "
            "may have seen it",
            folder=folder,
        )


class SecretFileUnreadable(StoreError):
    """The file that should hold a cluster's secret does not."""

    code = "cluster-secret-unreadable"

    def __init__(self, *, file: Path, reason: str) -> None:
        self.file = file
        super().__init__(
            f"there is no cluster secret in {file}, {reason}: no node was made; copy the file "
            "`secret` from the folder of any member"
        )


class TlsIncomplete(StoreError):
    """Only a part of what TLS needs was given."""

    code = "cluster-tls-incomplete"

    def __init__(self) -> None:
        super().__init__(
            "TLS between nodes needs a certificate, its key and the cluster's authority: no node "
            "was made; give all of --tls-certificate, --tls-key and --tls-authority, or none"
        )


class AddressTaken(StoreError):
    """A node was to be at the address of another."""

    code = "cluster-address-taken"

    def __init__(self, *, address: str, node: int) -> None:
        self.address = address
        self.node = node
        super().__init__(
            f"node {node} of this cluster is at {address} already: no other was admitted there; "
            f"choose another address, or let node {node} leave first if it is gone for good "
            f"(moreton cluster leave --node {node})"
        )


class AddressNotUsable(StoreError):
    """A node was to be at an address that is not this machine's, or is taken."""

    code = "cluster-address-not-usable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(
            f"this machine cannot be a node at {address}, {reason}: none was made; give an address "
            "of this machine and a free port as host:port, or say by --listen where to listen when "
            "others reach it by another"
        )


class NodeUnreachable(StoreError):
    """No node answers at the address."""

    code = "cluster-node-unreachable"
    retry = RetryAdvice.AFTER

    def __init__(self, *, address: str, reason: str) -> None:
        self.address = address
        self.reason = reason
        super().__init__(
            f"no node of a cluster answers at {address}, {reason}: nothing was asked or changed; "
            "start it by moreton cluster run, or correct the address"
        )


class SecretRefused(StoreError):
    """The node has another secret than we."""

    code = "cluster-secret-refused"

    def __init__(self, *, address: str) -> None:
        self.address = address
        super().__init__(
            f"the node at {address} has another cluster secret: nothing was asked or changed; "
            "use the secret of its cluster, the file `secret` in the folder of any member"
        )


class ClocksApart(StoreError):
    """The clock of this machine and that of the cluster differ by minutes."""

    code = "cluster-clocks-apart"
    retry = RetryAdvice.AFTER

    def __init__(self, *, address: str, seconds: float) -> None:
        self.seconds = seconds
        way = "behind" if seconds > 0 else "ahead of"
        super().__init__(
            f"the clock of this machine is {abs(seconds):.0f} s {way} that of the node at "
            f"{address}: this one did not join, certificates and logs would be wrong; set the "
            "clock, and keep it so by NTP"
        )


class UnknownMember(StoreError):
    """No node of that number belongs to the cluster."""

    code = "cluster-unknown-member"

    def __init__(self, *, node: int, members: Sequence[int]) -> None:
        self.node = node
        self.members = tuple(members)
        known = ", ".join(map(str, members)) or "none"
        super().__init__(
            f"node {node} does not belong to this cluster, whose nodes are {known}: nothing was "
            "changed; see moreton cluster status"
        )


class LastVoter(StoreError):
    """The only node that could decide anything was to leave."""

    code = "cluster-last-voter"

    def __init__(self, *, node: int) -> None:
        self.node = node
        super().__init__(
            f"node {node} is the last voter of its cluster: it was not removed, nobody could "
            "write any more; let another node join and become a voter first, or, to give the "
            "cluster up, stop the node and delete its folder"
        )


class MajorityAtRisk(StoreError):
    """Without that node fewer than a majority of the others would be there."""

    code = "cluster-majority-at-risk"

    def __init__(self, *, node: int, silent: Sequence[int], voters: int) -> None:
        self.node = node
        self.silent = tuple(silent)
        self.voters = voters
        super().__init__(
            f"node {node} was not removed: of the {voters} voters that would be left, "
            f"{', '.join(map(str, silent))} cannot be reached, and nobody could write any more; "
            "start those, or let those leave first"
        )


class ClusterRefused(StoreError):
    """A node answered with an error of its own; *cause* is that error's code."""

    code = "cluster-refused"

    def __init__(self, *, cause: str, says: str) -> None:
        self.cause = cause
        super().__init__(says)


class SnapshotDamaged(StoreError):
    """The file of a snapshot is not what was saved."""

    code = "cluster-snapshot-damaged"

    def __init__(self, *, file: Path, reason: str) -> None:
        self.file = file
        self.reason = reason
        super().__init__(
            f"{file} is not a whole snapshot, {reason}: no cluster was made of it; take another "
            "copy of the file, or an older snapshot"
        )


class SnapshotExpired(StoreError):
    """A part of a snapshot was asked for too late, or another one was taken meanwhile."""

    code = "cluster-snapshot-expired"
    retry = RetryAdvice.NOW

    def __init__(self, *, node: int) -> None:
        super().__init__(
            f"node {node} does not hold that snapshot any more: the file was not finished; "
            "take another one, and only one at a time"
        )


class SnapshotNotWritten(StoreError):
    """The file of a snapshot could not be written."""

    code = "cluster-snapshot-not-written"
    retry = RetryAdvice.AFTER

    def __init__(self, *, file: Path, reason: str) -> None:
        self.file = file
        super().__init__(
            f"the snapshot could not be written to {file}, {reason}: nothing was saved; choose a "
            "path that does not exist yet, on a disk with room"
        )
