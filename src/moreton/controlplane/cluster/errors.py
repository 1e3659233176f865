"""Why a node cannot be one of its cluster."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from moreton.controlplane.errors import ControlPlaneError
from moreton.kernel.errors import RetryAdvice
from moreton.kernel.quantities import format_duration
from moreton.store.errors import StoreError


class NodeNameTaken(ControlPlaneError):
    """Another living node has the same name."""

    code = "node-name-taken"
    retry = RetryAdvice.AFTER

    def __init__(self, *, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        super().__init__(
            f"another node is called {name!r}, {holder}: this one does not start, the others could "
            "not tell the two apart; give it a name of its own by --node or controlplane.node"
        )


class OtherCluster(ControlPlaneError):
    """The store is not the one that this node belonged to."""

    code = "other-cluster"

    def __init__(self, *, store: str, found: str, expected: str, file: Path) -> None:
        self.found = found
        self.expected = expected
        what = f"holds the cluster {found}" if found else "is empty"
        super().__init__(
            f"the store {store} {what}, and this node belongs to the cluster {expected}: "
            "not started, its proxies would lose what they have; correct the store's address, or "
            f"delete {file} to join what is there"
        )


class StoreNotReached(ControlPlaneError):
    """The store did not answer, and nothing is served that could wait for it."""

    code = "store-not-reached"
    retry = RetryAdvice.AFTER

    def __init__(self, *, store: str, after: timedelta, reason: str) -> None:
        super().__init__(
            f"the store {store} was not reached within {format_duration(after)}, {reason}: the "
            "control plane has nothing to serve and stops; start the store, or correct its address"
        )


class StoreSilent(StoreError):
    """The store did not answer in time."""

    code = "store-silent"
    retry = RetryAdvice.AFTER

    def __init__(self, *, seconds: float) -> None:
        super().__init__(
            f"the store did not answer within {seconds:g} s: other nodes may take this one for "
            "gone, its proxies go on; check that the store runs and can be reached from here"
        )
