"""TCP between the nodes of one cluster: authenticated, framed, in bounded queues.

Two nodes prove to each other that they know the cluster's secret, or hold certificates of its
authority, or both, before anything else is heard; then every byte is vouched for. Messages,
snapshots and questions have connections of their own, so that none waits for another. Nothing
waits for a node that is away: messages to it are dropped, and whoever sent them is told.

    credentials = Credentials("shop", secret=Path("cluster.secret").read_bytes().strip())
    transport = TcpTransport(1, credentials, "10.0.0.1:7400")
    transport.set_peers({1: "10.0.0.1:7400", 2: "10.0.0.2:7400", 3: "10.0.0.3:7400"})
    await transport.start(arrivals)

A secret alone hides nothing: where others can listen in, use TLS. It keeps no order between
connections and repeats nothing that was lost: Raft does.
"""

from moreton.consensus.transport.questions import ask_as_guest
from moreton.consensus.transport.settings import Credentials, PeerTls, TransportSettings
from moreton.consensus.transport.tcp import TcpTransport, TransportStatistics

__all__ = [
    "Credentials",
    "PeerTls",
    "TcpTransport",
    "TransportSettings",
    "TransportStatistics",
    "ask_as_guest",
]
