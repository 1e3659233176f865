"""What is leaving: instances that nothing new is sent to, and how far the proxies are with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from moreton.registry.core.changes import (
    InstanceChange,
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
)
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import InstanceState

# Those that no new request is sent to, while requests under way are let finish.
LEAVING_STATES = frozenset({InstanceState.DRAINING, InstanceState.MAINTENANCE})
_NAMED_MAX = 3

InstanceKey: TypeAlias = tuple[str, InstanceId]


@dataclass(frozen=True, slots=True)
class Leaving:
    """An instance that is on its way out since *revision* of the store.

    Not *exact*: it was found so, and had left by *revision* at the latest.
    """

    instance: Instance
    revision: int
    exact: bool


class Leavings:
    """The instances that are leaving, kept up to date by changes in their order."""

    def __init__(self) -> None:
        self._known: dict[InstanceKey, Leaving] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Leaving]:
        return iter(list(self._known.values()))

    def get(self, service: str, instance_id: str) -> Leaving | None:
        """The instance, if it is leaving."""
        return self._known.get((service, InstanceId(instance_id)))

    def apply(self, change: InstanceChange) -> bool:
        """Take note of *change*; whether something is leaving that was not, or not any more."""
        before = dict(self._known)
        match change:
            case InstancesListed(revision, instances):
                self._known.clear()
                for instance in instances:
                    self._note(instance, revision, before, exact=False)
            case InstanceRegistered(revision, instance) | InstanceUpdated(revision, instance, _):
                self._note(instance, revision, before, exact=True)
            case InstanceRemoved(_, service, instance_id, _):
                self._known.pop((service, instance_id), None)
        return self._known != before

    def _note(
        self,
        instance: Instance,
        revision: int,
        before: Mapping[InstanceKey, Leaving],
        *,
        exact: bool,
    ) -> None:
        key = (instance.service, instance.id)
        if instance.state not in LEAVING_STATES:
            self._known.pop(key, None)
            return
        known = before.get(key)
        if known is not None and known.instance.endpoint == instance.endpoint:
            self._known[key] = Leaving(instance, known.revision, known.exact)
        else:
            self._known[key] = Leaving(instance, revision, exact)


class Share(NamedTuple):
    """What one proxy has to do with an instance that is leaving.

    *acknowledged*: it sends no new request there. *requests* are those under way; `None` when the
    proxy does not say: a gRPC client never does, an Envoy only while it answers.
    """

    node: str
    proxy: str
    acknowledged: bool
    requests: int | None
    counts: bool = True  # whether it can say how many requests are under way

    @property
    def idle(self) -> bool:
        """Whether nothing is under way, as far as it can be known."""
        return self.acknowledged and (self.requests == 0 or not self.counts)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a leaving instance has come, over all proxies of all nodes; *silent* said nothing."""

    service: str
    id: str
    state: str
    shares: tuple[Share, ...] = ()
    silent: tuple[str, ...] = ()  # nodes that have not said anything of it yet

    @property
    def is_leaving(self) -> bool:
        """Whether nothing new is to be sent to it."""
        return self.state in LEAVING_STATES

    @property
    def acknowledged(self) -> bool:
        """Whether every proxy sends nothing new to it."""
        return self.is_leaving and not self.silent and all(x.acknowledged for x in self.shares)

    @property
    def requests(self) -> int | None:
        """The requests under way; `None` when a proxy that could tell does not."""
        counts = [each.requests for each in self.shares if each.counts]
        known = [each for each in counts if each is not None]
        return sum(known) if len(known) == len(counts) and not self.silent else None

    @property
    def idle(self) -> bool:
        """Whether every proxy acknowledged, and none has a request under way."""
        return self.acknowledged and all(each.idle for each in self.shares)

    def waits_for(self) -> str:
        """What it waits for, for people; empty when it is idle."""
        late = [_named(x) for x in self.shares if not x.acknowledged]
        late += [f"node {name}" for name in self.silent]
        if late:
            return f"{_joined(late)} to acknowledge that nothing is sent to it"
        mute = [_named(x) for x in self.shares if x.counts and x.requests is None]
        if mute:
            return f"{_joined(mute)} to say how many requests are under way"
        busy = [f"{x.requests} at {_named(x)}" for x in self.shares if x.counts and x.requests]
        return f"requests under way, {_joined(busy)}" if busy else ""

    def document(self) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "service": self.service,
            "id": self.id,
            "state": self.state,
            "acknowledged": self.acknowledged,
            "idle": self.idle,
            "requests": self.requests,
            "waits_for": self.waits_for(),
            "proxies": [
                {
                    "node": each.node,
                    "proxy": each.proxy,
                    "acknowledged": each.acknowledged,
                    "requests": each.requests,
                }
                for each in self.shares
            ],
        }


def encode_shares(shares: Iterable[Share], revision: int) -> dict[str, Any]:
    """What a node tells the others of one instance, as JSON values."""
    rows = [[x.proxy, x.acknowledged, x.requests, x.counts] for x in shares]
    return {"revision": revision, "proxies": rows}


def decode_shares(node: str, told: Any, leaving: Leaving) -> list[Share] | None:
    """What *node* told of *leaving*; `None` when it speaks of something else, or of nothing."""
    try:
        if leaving.exact and told["revision"] < leaving.revision:
            return None  # it left before, came back, and leaves again: that is not known there
        return [Share(node, str(p), bool(a), r, bool(c)) for p, a, r, c in told["proxies"]]
    except (KeyError, TypeError, ValueError):
        return None


def _named(share: Share) -> str:
    return f"proxy {share.proxy}" + f" of node {share.node}" * bool(share.node)


def _joined(names: Sequence[str]) -> str:
    more = len(names) - _NAMED_MAX
    return ", ".join(names[:_NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
