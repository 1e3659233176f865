"""Registers: one value, read, written, and exchanged for another if it is the expected one.

States are JSON texts, so that `1`, `1.0`, `"1"` and `true` are four values. A new one holds `null`.
"""

from __future__ import annotations

from moreton.sim.linearizability.errors import Unreadable
from moreton.sim.linearizability.history import Call, canonical
from moreton.sim.linearizability.model import Effect, Role


class Register:
    """`read` (ok: the value) and `write` (invoke: the value), each key its own register."""

    name = "register"
    ops: tuple[str, ...] = ("read", "write")

    def initial(self) -> str:
        """What a register holds before the first write."""
        return "null"

    def part(self, call: Call) -> str:
        """Its key."""
        return f"key {canonical(call.key)}"

    def effect(self, call: Call) -> Effect:
        """Of a read or a write."""
        known = call.ended is not None
        if call.op == "read":
            return _read(canonical(call.result)) if known else _nothing
        return _write(canonical(call.argument))

    def role(self, call: Call) -> Role:
        """A read reads, a write sets."""
        return Role.READS if call.op == "read" else Role.SETS

    def show_call(self, call: Call) -> str:
        """`write 3`, `read, saw 3`, `read, outcome unknown`."""
        text = call.op if call.op == "read" else f"{call.op} {canonical(call.argument)}"
        if call.ended is None:
            return f"{text}, outcome unknown"
        return f"{text}, saw {canonical(call.result)}" if call.op == "read" else text

    def show_state(self, state: str) -> str:
        """`it holds 3`."""
        return f"it holds {state}"


class CasRegister(Register):
    """A register with `cas` as well (invoke: [expected, new]).

    Its `ok` means that it exchanged, or with the value `false` that it found something else.
    A `fail` says, as always, that it did nothing, and not why.
    """

    name = "cas-register"
    ops: tuple[str, ...] = ("read", "write", "cas")

    def effect(self, call: Call) -> Effect:
        """Of a read, a write or a cas."""
        if call.op != "cas":
            return super().effect(call)
        if not isinstance(call.argument, list) or len(call.argument) != 2:
            raise Unreadable(f"a cas of {canonical(call.argument)}; write [expected, new]")
        expected, new = map(canonical, call.argument)
        if call.ended is None:
            return lambda state: new if state == expected else state
        if call.result is False:
            return lambda state: state if state != expected else None
        return lambda state: new if state == expected else None

    def role(self, call: Call) -> Role:
        """A cas that found another value only read."""
        if call.op != "cas":
            return super().role(call)
        return Role.READS if call.result is False else Role.CHANGES

    def show_call(self, call: Call) -> str:
        """`cas 1 -> 2`, `cas 1 -> 2, found another`, and as of a register."""
        if call.op != "cas":
            return super().show_call(call)
        text = "cas {} -> {}".format(*map(canonical, call.argument))
        if call.ended is None:
            return f"{text}, outcome unknown"
        return f"{text}, found another" if call.result is False else text


def _nothing(state: str) -> str:
    return state


def _read(seen: str) -> Effect:
    return lambda state: state if state == seen else None


def _write(value: str) -> Effect:
    return lambda _: value
