"""The order in which processes take test files: those that wait among those that compute.

Tests of servers wait and start programs; side by side they leave the machine idle, or want more
of it than there is. A file without servers beside each makes a run shorter and calmer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

SERVERS = ("contract", "e2e", "fuzz")
PartsT = TypeVar("PartsT", bound=Sequence[str])
# The last files are short ones, so that all processes end together.
_SERVERS_UNTIL = 0.9


def mixed(files: Sequence[PartsT]) -> list[PartsT]:
    """All *files*, each as its path's parts below `tests`: two even streams, each in its order."""
    placed: list[tuple[float, PartsT]] = []
    for servers, until in ((True, _SERVERS_UNTIL), (False, 1.0)):
        stream = [each for each in files if (each[0] in SERVERS) is servers]
        step = until / max(len(stream), 1)
        placed += [((place + 0.5) * step, each) for place, each in enumerate(stream)]
    return [each for _, each in sorted(placed, key=lambda one: one[0])]
