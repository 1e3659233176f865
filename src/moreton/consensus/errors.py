"""What can go wrong around a cluster of nodes that agree."""

from __future__ import annotations

from moreton.kernel.errors import MoretonError


class ConsensusError(MoretonError):
    """The root of the errors of `moreton.consensus`."""
