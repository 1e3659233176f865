"""Hears what is to be done with the program, and tells what became of it."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Callable

from moreton.kernel.places import REQUEST_SECONDS_MAX
from moreton.kernel.rng import system_rng
from moreton.registry.client.wire import Answer, path_of
from moreton.registry.client.worker import Worker
from moreton.registry.core.heartbeat import Phase as Registered
from moreton.registry.core.heartbeat import Unanswered
from moreton.registry.core.instructions import Instruction, Phase, from_document

_LOG = logging.getLogger("moreton.registry")
# A question is held open so long while there is nothing to hear.
_WAIT_SECONDS = 20.0
_AGAIN_SECONDS = 1.0
_AGAIN_SECONDS_MAX = 5.0
_UNKNOWN_SECONDS = 30.0
_NOT_REGISTERED = "instance-not-registered"
_TELL_ATTEMPTS_MAX = 20


class Listener:
    """A daemon thread that hands every new instruction for *worker*'s instance to *hear*."""

    def __init__(self, worker: Worker, hear: Callable[[Instruction], None]) -> None:
        self._worker = worker
        self._hear = hear
        self._stopped = threading.Event()
        name = f"moreton-instructions-{worker.offer.instance.service}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Hear nothing from now on; returns at once."""
        self._stopped.set()

    def _run(self) -> None:
        api = self._worker.new_api()
        rng = system_rng()
        heard, failures = "", 0
        while not self._stopped.is_set():
            path = f"{path_of(self._worker.offer)}/instruction"
            said = api.call(
                "GET",
                f"{path}?wait={_WAIT_SECONDS:g}&after={heard}{_since(self._worker)}",
                seconds=_WAIT_SECONDS + REQUEST_SECONDS_MAX,
            )
            found = _instruction(said)
            if found is not None and not self._stopped.is_set():
                heard = found.name
                self._hear(found)
            elif not (isinstance(said, Answer) and said.status == http.client.NO_CONTENT):
                failures += 1
                self._stopped.wait(_pause(said, failures) * rng.uniform(0.5, 1))
                continue
            failures = 0
        api.close()


def _since(worker: Worker) -> str:
    """What was told to this program before its lease ended, and it came back, is for it."""
    return f"&since={worker.since}" if worker.since else ""


def _pause(said: Answer | Unanswered, failures: int) -> float:
    if isinstance(said, Answer) and said.document.get("code") != _NOT_REGISTERED:
        return _UNKNOWN_SECONDS  # a control plane of before there were instructions
    return min(_AGAIN_SECONDS * failures, _AGAIN_SECONDS_MAX)


def report(worker: Worker, name: str, phase: Phase, detail: str = "") -> None:
    """Tell that the attempt *name* has got to *phase*; tried for some seconds."""
    api = worker.new_api()
    path = f"{path_of(worker.offer)}/instruction"
    document = {"name": name, "phase": phase.value, "detail": detail}
    pause = threading.Event()
    for _ in range(_TELL_ATTEMPTS_MAX):
        said = api.call("PUT", path, document, seconds=REQUEST_SECONDS_MAX)
        if isinstance(said, Answer) or worker.phase is Registered.LEFT:
            break  # whoever has left does not wait
        pause.wait(_AGAIN_SECONDS / 2)
    else:
        _LOG.warning('could not tell that instruction "%s" is at %s', name, phase)
    api.close()


def _instruction(said: Answer | Unanswered) -> Instruction | None:
    if isinstance(said, Answer) and said.status == http.client.OK:
        return from_document(said.document)
    return None
