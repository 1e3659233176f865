"""How many messages the literature says that an election costs, announcement included.

Sources: Chang and Roberts 1979; Hirschberg and Sinclair 1980; Lynch 1996, 3.3 and 3.4;
Garcia-Molina 1982. `n` is the number of nodes, at least 1.
"""

from __future__ import annotations

import math


def harmonic(n: int) -> float:
    """H_n = 1 + 1/2 + ... + 1/n."""
    return math.fsum(1 / k for k in range(1, n + 1))


def lcr_best(n: int) -> int:
    """The UIDs rise clockwise and all begin: each token but the largest dies at once."""
    return 2 * n - 1 + n


def lcr_average(n: int) -> float:
    """All orders are equally likely and all begin: n*H_n, and n for the announcement."""
    return n * harmonic(n) + n


def lcr_worst(n: int) -> int:
    """The UIDs fall clockwise and all begin: the i-th largest goes n - i + 1 hops."""
    return n * (n + 1) // 2 + n


def chang_roberts_best(n: int) -> int:
    """The largest alone begins: one lap, and one to announce."""
    return 2 * n


def chang_roberts_worst(n: int) -> int:
    """The largest's clockwise neighbour alone begins: n - 1 hops before the winning lap."""
    return 3 * n - 1


def hirschberg_sinclair_bound(n: int) -> int:
    """An upper bound: at most 4 * 2**k hops for each winner of phase k - 1."""
    return 8 * n * (1 + math.ceil(math.log2(n))) + n


def hirschberg_sinclair_winners(n: int, phase: int) -> int:
    """At most so many nodes win *phase*, counted from 0: winners stand 2**phase apart."""
    return n // ((1 << phase) + 1)


def bully_best(n: int) -> int:
    """The largest begins: it tells the others."""
    return n - 1


def bully_worst(n: int) -> int:
    """The smallest begins: each asks all above it and is answered; then the largest tells all."""
    return n * n - 1
