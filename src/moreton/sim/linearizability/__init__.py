"""Judges whether a history is linearizable: as if the object had done one thing at a time.

Use it on anything that promises so: a store, a lock, a lease. It proves that one run kept the
promise, or shows where it did not; it says nothing of runs that were not made.

    recorder = Recorder()
    recorder.invoke("alice", "write", "x", 1, now)     # before the request leaves
    recorder.ok("alice", None, now)                    # or fail, or info: nobody knows
    verdict = check_history(recorder.calls(), Register())
    assert verdict.is_linearizable, str(verdict)

`moreton history check FILE` does it for a file of JSON lines.
"""

from collections.abc import Mapping
from types import MappingProxyType

from moreton.sim.linearizability.errors import HistoryNotValid, HistoryUndecided
from moreton.sim.linearizability.history import Call, pair_events, read_events
from moreton.sim.linearizability.model import Model
from moreton.sim.linearizability.recorder import Recorder
from moreton.sim.linearizability.register import CasRegister, Register
from moreton.sim.linearizability.store import (
    StoreModel,
    shown_range,
    shown_request,
    shown_result,
)
from moreton.sim.linearizability.verdict import Verdict, check_history

MODELS: Mapping[str, type[Model]] = MappingProxyType(
    {model.name: model for model in (Register, CasRegister, StoreModel)}
)

__all__ = [
    "MODELS",
    "Call",
    "CasRegister",
    "HistoryNotValid",
    "HistoryUndecided",
    "Recorder",
    "Register",
    "StoreModel",
    "Verdict",
    "check_history",
    "pair_events",
    "read_events",
    "shown_range",
    "shown_request",
    "shown_result",
]
