"""How a program ended, as far as that can be known."""

from __future__ import annotations

import os
import re
import signal

_STAMP = re.compile(r"^(?:\[[^\]]*\])+\s*(?:\[[^\]]*\]\s*)?")
# Envoy prints the whole message before it says what is wrong with it.
_DUMP = re.compile(r"goo\.gle/debug\w*\s.*?^:", re.DOTALL | re.MULTILINE)
_CAUSE = "| caused by "
_TOLD = "Caught "  # a signal, by Envoy itself
_CRASH = re.compile(rf"{_TOLD}|killed by SIG(ABRT|BUS|ILL|SEGV|TRAP)")


def reap(pid: int) -> str | None:
    """How the child *pid* ended; `None` when that is not for us to know, or not yet.

    Must be called once for every child: what is not reaped stays as a zombie.
    """
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    if found == 0:
        return None
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    return f"killed by {signal.Signals(-code).name}"


def reason_in(log: str) -> str:
    """The sentence of Envoy's *log* that says best why it ended, without time stamps and dumps."""
    lines = [line.strip() for line in _DUMP.sub(":", log).splitlines() if line.strip()]
    if not lines:
        return ""
    crashed = [line for line in lines if _TOLD in line]
    bad = [line for line in lines if "[critical]" in line or "[error]" in line]
    # A refused bootstrap is repeated in a line of its own at the end; "exiting" says nothing.
    repeated = [] if _STAMP.match(lines[-1]) else [lines[-1]]
    telling = [line for line in bad if not line.endswith("exiting")]
    return plain_reason((crashed or repeated or telling or bad or lines)[-1])


def is_crash(reason: str) -> bool:
    """Whether what `reason_in` or `reap` found is that it broke down by itself."""
    return _CRASH.search(reason) is not None


def plain_reason(text: str) -> str:
    """*text* in one line, without time stamp and dump; of a chain of causes the first cause."""
    said = " ".join(_STAMP.sub("", _DUMP.sub("", text)).split())
    if _CAUSE in said:
        said = said.rpartition(_CAUSE)[2].removesuffix(")")
    return said.removeprefix(":").strip()
