"""How a program ended, as far as that can be known."""

from __future__ import annotations

import os
import re
import signal

_WORST = re.compile(r"\[(?:critical|error)\]|Caught |AddressSanitizer|assert failure")
_STAMP = re.compile(r"^(?:\[[^\]]*\])+\s*(?:\[[^\]]*\]\s*)?")


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
    """The line of Envoy's *log* that says best why it ended; its time stamp is left out."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    bad = [line for line in lines if _WORST.search(line)]
    # "exiting" follows the reason in Envoy's log and says nothing.
    telling = [line for line in bad if not line.endswith("exiting")] or bad or lines
    return _STAMP.sub("", telling[-1]) if telling else ""
