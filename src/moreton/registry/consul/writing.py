"""Puts what operations do to keys into the store: all in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from moreton.registry.consul.core.keys import entries, sessions
from moreton.registry.consul.core.keys.entries import (
    Entry,
    Failed,
    Operation,
    Picture,
    is_tree,
    run,
    settled,
)
from moreton.registry.consul.core.refusals import ConsulRequestRefused
from moreton.registry.consul.following.state import delay_key, entry_key, session_key
from moreton.store import Compare, Delete, Put, Range, RangeResult, Store, prefix_end
from moreton.store.core.model import TXN_OPS_MAX, Op, TxnResult

# Clients that write one key at once undo each other's attempt; one of them always gets on.
_ATTEMPTS_MAX = 64
_KV_BYTES = len(entry_key(""))


async def transact(
    store: Store, operations: Sequence[Operation]
) -> tuple[list[tuple[Entry, bool]], list[Failed]]:
    """Do all of *operations* in order, or none: what they answer, or why they cannot be.

    Raises `ConsulRequestRefused` when others write the same keys all the time, and the store's
    errors.
    """
    for _ in range(_ATTEMPTS_MAX):
        picture, compare = await _look(store, operations)
        results, failed = run(operations, picture)
        if failed:
            return [], failed
        if not picture.written:
            return results, []
        trees = [op for op in operations if op.verb == "get-tree"]
        reads = [Range(entry_key(op.key), prefix_end(entry_key(op.key))) for op in trees]
        done = await store.txn(compare, [*reads, *_writes(operations, picture)])
        if done.succeeded:
            if trees:
                results, _ = run(operations, _with_trees(picture, trees, done))
            return [(settled(entry, done.revision), shown) for entry, shown in results], []
    raise ConsulRequestRefused(
        500, f"others changed the same keys during each of {_ATTEMPTS_MAX} attempts: try again"
    )


async def _look(store: Store, operations: Sequence[Operation]) -> tuple[Picture, list[Compare]]:
    """The keys that *operations* name, and on what condition they are still so."""
    keys = {op.key: None for op in operations if not is_tree(op)}
    trees = {op.key: None for op in operations if is_tree(op)}
    locks = {op.key: None for op in operations if op.verb == "lock"}
    holders = {op.session: None for op in operations if op.verb == "lock"}
    reads = [
        *(Range(entry_key(key)) for key in keys),
        *(Range(entry_key(key), prefix_end(entry_key(key))) for key in trees),
        *(Range(delay_key(key)) for key in locks),
        *(Range(session_key(each)) for each in holders),
    ]
    found = iter(await _read(store, reads))
    picture = Picture({})
    compare: list[Compare] = []
    for key in keys:
        lies = next(found).kvs
        compare.append(Compare.mod(entry_key(key), "=", lies[0].mod_revision if lies else 0))
        entry = entries.decode(key, lies[0]) if lies else None
        if entry is not None:
            picture.entries[key] = entry
    for key in trees:
        lies_below = next(found)
        # What is deleted meanwhile this does not notice: no harm to a deletion, and what is read
        # is read once more within the transaction.
        start = entry_key(key)
        newest = lies_below.revision + 1
        compare.append(Compare(start, "mod", "<", newest, prefix_end(start)))
        picture.entries.update(_decoded(lies_below))
    # A delay begins with a change of its key, so the key's own condition covers it.
    picture.delayed = frozenset([key for key in locks if next(found).kvs])
    picture.sessions = living = {}
    for each in holders:
        lives = next(found).kvs
        session = sessions.decode(each, lives[0]) if lives else None
        if session is not None:
            living[each] = session.on_end
            compare.append(Compare.version(session_key(each), ">", 0))
    return picture, compare


async def _read(store: Store, reads: Sequence[Range]) -> list[RangeResult]:
    """All of *reads*; as of one moment as far as one transaction takes them."""
    if len(reads) == 1:
        return [await store.range(reads[0].key, reads[0].end)]
    found: list[RangeResult] = []
    for first in range(0, len(reads), TXN_OPS_MAX):
        done = await store.txn((), reads[first : first + TXN_OPS_MAX])
        found.extend(each for each in done.results if isinstance(each, RangeResult))
    return found


def _writes(operations: Sequence[Operation], picture: Picture) -> Iterator[Op]:
    cleared = [
        op.key
        for op in operations
        if op.verb == "delete-tree"
        and not any(new and key.startswith(op.key) for key, new in picture.written.items())
    ]
    for prefix in dict.fromkeys(cleared):
        yield Delete(entry_key(prefix), prefix_end(entry_key(prefix)))
    for key, entry in picture.written.items():
        if entry is not None:
            yield Put(entry_key(key), entries.encode(entry))
        elif not any(key.startswith(prefix) for prefix in cleared):
            yield Delete(entry_key(key))


def _with_trees(picture: Picture, trees: Sequence[Operation], done: TxnResult) -> Picture:
    """*picture* before anything was written, with the trees as the transaction found them."""
    prefixes = tuple(op.key for op in trees)
    kept = {k: v for k, v in picture.entries.items() if not k.startswith(prefixes)}
    again = Picture(kept, picture.sessions, picture.delayed)
    for found in done.results[: len(trees)]:
        if isinstance(found, RangeResult):
            again.entries.update(_decoded(found))
    return again


def _decoded(found: RangeResult) -> Iterator[tuple[str, Entry]]:
    for kv in found.kvs:
        key = kv.key[_KV_BYTES:].decode(errors="replace")
        entry = entries.decode(key, kv)
        if entry is not None:
            yield key, entry
