"""Where our nodes do otherwise than those of etcd 3.4 in its interaction files, and why.

`docs/reference/raft.md` says the same to readers; a test holds both to what runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

COMMIT = "in force from its commit on"
STEPS_DOWN = "a removed leader steps down"
REFUSED = "an impossible change is refused"
HINT = "a rejection names a term"
SYNC = "a snapshot is synced"
ACTIVE = "a leader hears itself"


@dataclass(frozen=True)
class File:
    """One file: how it begins when hashed, its cases, and which of them, by line, deviate why.

    What deviates in *messages* only comes to the same state by the end of the case.
    """

    digest: str
    cases: int
    messages: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    state: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def same_messages(self) -> int:
        """In how many cases every printed line is the same."""
        return self.cases - len(self.messages)

    @property
    def same_state(self) -> int:
        """After how many cases the nodes are in the same state."""
        return self.cases - len(self.state)


_REMOVED = dict.fromkeys((73, 99, 120, 128, 203), (STEPS_DOWN,))

FILES = {
    "campaign": File("311d160e", 4),
    "campaign_learner_must_vote": File("edc13a38", 12, {89: (HINT,)}),
    "confchange_v1_add_single": File("5cc21027", 5, {33: (COMMIT, SYNC)}),
    "confchange_v1_remove_leader": File(
        "23736bc9", 17, _REMOVED, _REMOVED | dict.fromkeys((192, 196), (STEPS_DOWN,))
    ),
    "confchange_v2_add_double_auto": File(
        "d6678e23",
        9,
        {39: (COMMIT,), 54: (COMMIT,), 69: (COMMIT, SYNC), 143: (COMMIT, SYNC)},
        {39: (COMMIT,)},
    ),
    "confchange_v2_add_double_implicit": File("0060e23f", 5, {36: (COMMIT, SYNC)}),
    "confchange_v2_add_single_auto": File(
        "faa44014",
        10,
        {34: (COMMIT, SYNC)} | dict.fromkeys((109, 114, 175, 180), (REFUSED,)),
        dict.fromkeys((114, 175, 180), (REFUSED,)),
    ),
    "confchange_v2_add_single_explicit": File(
        "1c633a46",
        10,
        {34: (COMMIT, SYNC)} | dict.fromkeys((103, 114, 166, 171), (REFUSED,)),
        dict.fromkeys((114, 166, 171), (REFUSED,)),
    ),
    "snapshot_succeed_via_app_resp": File(
        "864a82f5", 18, {42: (ACTIVE,), 96: (ACTIVE,), 106: (SYNC,), 133: (ACTIVE,)}
    ),
}
