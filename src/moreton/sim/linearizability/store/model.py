"""The store as a model: transactions on keys, and revisions.

Each operation that changes something makes exactly the next revision, from 2 on, so that a history
holds every write of its store. All keys are one object, since they share the revision. Not part of
it: leases, and reads of past revisions, which need no order.
"""

from __future__ import annotations

from typing import Any

from moreton.sim.linearizability.history import Call, canonical
from moreton.sim.linearizability.model import Effect, Role
from moreton.sim.linearizability.store.contents import Contents, run_transaction
from moreton.sim.linearizability.store.requests import read_request, read_result

_SHOWN_MAX = 6


class StoreModel:
    """`put` (invoke: the value), `delete`, `range`, `txn`.

    As results: `{"revision": 5}` and, for a range, `{"kvs": [{"key": .., "value": ..}]}`, for a txn
    `{"succeeded": true, "revision": 5, "results": [..]}`. What is left out is not judged.
    """

    name = "store"
    ops: tuple[str, ...] = ("put", "delete", "range", "txn")

    def initial(self) -> Contents:
        """An empty store, at revision 1."""
        return Contents()

    def part(self, call: Call) -> str:
        """One for all."""
        del call
        return "the store"

    def effect(self, call: Call) -> Effect:
        """Of any operation: run it, and compare what it answers with what the client was told."""
        request = read_request(call)
        told = None if call.ended is None else read_result(call)

        def run(before: Contents) -> Contents | None:
            after, answer = run_transaction(request, before)
            return after if told is None or _agrees(told, answer) else None

        return run

    def role(self, call: Call) -> Role:
        """A range reads."""
        return Role.READS if call.op == "range" else Role.CHANGES

    def show_call(self, call: Call) -> str:
        """`put "a" "1", saw {"revision":2}`."""
        words = [call.op, *(canonical(each) for each in (call.key, call.argument) if each)]
        seen = "outcome unknown" if call.ended is None else f"saw {canonical(call.result)}"
        return f"{' '.join(words)}, {seen}"

    def show_state(self, state: Contents) -> str:
        """`it is at revision 3 and holds "a" = "1" (version 1, revision 2)`."""
        held = [
            f"{canonical(entry.key.decode(errors='surrogateescape'))} = "
            f"{canonical(entry.value.decode(errors='surrogateescape'))} "
            f"(version {entry.version}, revision {entry.mod})"
            for entry in state.entries[:_SHOWN_MAX]
        ]
        if len(state.entries) > _SHOWN_MAX:
            held.append(f"{len(state.entries) - _SHOWN_MAX} more keys")
        return f"it is at revision {state.revision} and holds {', '.join(held) or 'nothing'}"


def _agrees(told: Any, answer: Any) -> bool:
    """Whether *answer* has everything that was *told*; it may have more fields, not more items."""
    if isinstance(told, dict):
        return isinstance(answer, dict) and all(
            name in answer and _agrees(value, answer[name]) for name, value in told.items()
        )
    if isinstance(told, list):
        return (
            isinstance(answer, list)
            and len(told) == len(answer)
            and all(map(_agrees, told, answer))
        )
    return type(told) is type(answer) and bool(told == answer)
