"""What a node remembers of its cluster in its state folder: `cluster.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from moreton.controlplane.state_folder import replace_file
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import SystemClock

_FILE = "cluster.json"
# More nodes than any cluster has; those that left long ago fall out.
_PEERS_MAX = 16


@dataclass(frozen=True, slots=True)
class Peer:
    """Where the API of another node answers, and the certificate that it shows there."""

    name: str
    api: str
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Home:
    """The state folder's own id, the cluster that it belongs to, and the other nodes' APIs."""

    id: str
    cluster: str = ""
    peers: tuple[Peer, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Home:
        """What *folder* remembers; a new home when it remembers nothing."""
        try:
            found = json.loads((folder / _FILE).read_text())
            peers = tuple(Peer(**each) for each in found.get("peers", ()))
            return cls(str(found["id"]), str(found.get("cluster", "")), peers)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls(new_id(SystemClock().wall(), system_rng()))

    def write(self, folder: Path) -> None:
        """Remember it in *folder*, whole or not at all. Raises `OSError`."""
        replace_file(folder / _FILE, json.dumps(asdict(self)), 0o600)

    def with_peers(self, peers: Iterable[Peer]) -> Home:
        """With *peers* as they are now; those that are gone are kept, they may come back."""
        now = {each.name: each for each in peers}
        before = [each for each in self.peers if each.name not in now]
        return replace(self, peers=(*now.values(), *before)[:_PEERS_MAX])
