"""Where the members are, as the log says: in the contexts of its changes, and in snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from struct import Struct

from moreton.consensus.core.configuration import ConfigurationChange
from moreton.consensus.core.messages import Configuration, NodeId

# Before the context of a change that a host proposed: its proposer's nonce, and a number.
_TOKEN = Struct("<QQ")
TOKEN_BYTES = _TOKEN.size


def encode_addresses(addresses: Mapping[NodeId, str]) -> bytes:
    """The context of a `ConfigurationChange` that says where its nodes are: `host:port`."""
    return json.dumps({str(node): addresses[node] for node in sorted(addresses)}).encode()


def decode_addresses(data: bytes) -> dict[NodeId, str]:
    """What `encode_addresses` made; nothing if *data* is empty. Raises `ValueError`."""
    if not data:
        return {}
    found = json.loads(data)
    if not isinstance(found, dict) or not all(isinstance(one, str) for one in found.values()):
        raise ValueError(f"{found!r} does not map node ids to addresses")
    return {int(node): address for node, address in found.items()}


def mark(nonce: int, number: int, context: bytes) -> bytes:
    """*context* with the token by which its proposer knows it again."""
    return _TOKEN.pack(nonce, number) + context


def token_of(context: bytes) -> bytes:
    """The token of a marked *context*; empty for a change that nobody waits for."""
    return context[:TOKEN_BYTES] if len(context) >= TOKEN_BYTES else b""


class Members:
    """Addresses by node, and the highest id that was ever given: no id is given twice."""

    def __init__(self, addresses: Mapping[NodeId, str], highest: NodeId = 0) -> None:
        self.addresses = dict(addresses)
        self.highest = max([highest, *addresses])

    def note(self, change: ConfigurationChange) -> None:
        """*change* is in the log, committed: the same on every node."""
        self.highest = max([self.highest, *(one.node for one in change.changes)])
        try:
            self.addresses.update(decode_addresses(change.context[TOKEN_BYTES:]))
        except ValueError:
            return  # another kind of host proposed it: it knows where its nodes are

    def keep(self, configuration: Configuration) -> None:
        """Forget where those are who do not belong to the cluster any more."""
        members = configuration.members()
        self.highest = max([self.highest, *members])
        self.addresses = {n: a for n, a in self.addresses.items() if n in members}

    def known(self, nodes: Iterable[NodeId]) -> dict[NodeId, str]:
        """The addresses of *nodes*, as far as they are known."""
        return {node: self.addresses[node] for node in nodes if node in self.addresses}
