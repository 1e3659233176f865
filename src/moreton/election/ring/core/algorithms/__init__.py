"""One machine per algorithm, each a node's part in one election; `choice` has them by name."""

from moreton.election.ring.core.algorithms.choice import Algorithm, ElectionNode, new_node

__all__ = ["Algorithm", "ElectionNode", "new_node"]
