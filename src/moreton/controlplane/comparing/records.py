"""Comparisons in the store: which share is sampled, and how many requests were compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from moreton.store import Delete, Put
from moreton.store.core.model import Op
from moreton.strangler.compare.core.counts import Counts
from moreton.strangler.compare.core.documents import counts_document, counts_from

PREFIX = b"/moreton/comparisons/"
SHARES = PREFIX + b"share/"
COUNTS = PREFIX + b"counts/"
HEARD = PREFIX + b"heard/"


def sampling(route: str, share: float | None) -> Op:
    """What has a *share* in [0, 1] of *route*'s requests compared; `None`: as moreton.yaml says."""
    key = SHARES + route.encode()
    if share is None:
        return Delete(key)
    if not 0 <= share <= 1:
        raise ValueError(f"{share} of the requests of {route!r}: a share is from 0 to 1")
    return Put(key, json.dumps({"share": share}).encode())


def share_from(value: bytes) -> float | None:
    """The share in *value*; `None` for what a later version put there."""
    try:
        share = float(json.loads(value)["share"])
    except (ValueError, KeyError, TypeError):
        return None
    return share if 0 <= share <= 1 else None


def counts_prefix(route: str) -> bytes:
    """Where the counts of *route* lie, a node a key."""
    return COUNTS + route.encode() + b"/"


def counts_key(route: str, node: str) -> bytes:
    """Where those of one *node* lie."""
    return counts_prefix(route) + node.encode()


def encode_counts(counts: Counts) -> bytes:
    """The value in the store."""
    return json.dumps(asdict(counts), separators=(",", ":")).encode()


def heard_key(node: str) -> bytes:
    """Where it lies what of the collector of *node* is among its counts."""
    return HEARD + node.encode()


def encode_heard(run: str, told: Mapping[str, Counts]) -> bytes:
    """That what the collector's process *run* *told* so far is counted."""
    return json.dumps({"run": run, "told": counts_document(told)}).encode()


def decode_heard(value: bytes) -> tuple[str, dict[str, Counts]]:
    """What `encode_heard` wrote; nobody who told nothing for anything else."""
    try:
        found = json.loads(value)
        return str(found["run"]), counts_from(found["told"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def decode_counts(value: bytes) -> Counts:
    """What `encode_counts` wrote; nothing for anything else."""
    try:
        return Counts(**json.loads(value))
    except (ValueError, TypeError):
        return Counts()
