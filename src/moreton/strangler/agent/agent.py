"""The agent of one process: what it looks at, and where it keeps what it saw."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from moreton.strangler.agent.core.effects import Harmless
from moreton.strangler.agent.core.standing import (
    ASK_WRITES,
    SEEN_MIN,
    Standing,
    Told,
    judge,
    write_told,
)
from moreton.strangler.agent.errors import EffectsUnreadable
from moreton.strangler.agent.ledger import Ledger
from moreton.strangler.agent.recording import Recording
from moreton.strangler.agent.sqlite import Effects
from moreton.strangler.agent.watching import audit, clients, databases, threads

DEFAULT_PATH = Path(".moreton/effects.sqlite")
PATH_VARIABLE = "MORETON_EFFECTS"
_LOOK_EVERY = 256  # requests, for modules that were loaded meanwhile and are not seen


class Agent:
    """Watches this process from the first one on that is made, and keeps evidence in *path*.

    *path* is `MORETON_EFFECTS`, or `.moreton/effects.sqlite` where the process was started. The
    evidence of another *release* does not count. An endpoint is safe once *seen_min* requests were
    seen and none wrote; *harmless* are effects that do not count, each with its reason.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        release: str = "",
        seen_min: int = SEEN_MIN,
        harmless: Iterable[tuple[str, str]] = (),
    ) -> None:
        if seen_min < 1:
            raise ValueError(f"seen_min is {seen_min}; a route nobody asked for is not safe")
        place = Path(path or os.environ.get(PATH_VARIABLE) or DEFAULT_PATH)
        self.effects = Effects(place.absolute())
        self.ledger = Ledger(
            self.effects,
            release=release,
            seen_min=seen_min,
            harmless=[Harmless(pattern, because) for pattern, because in harmless],
        )
        self._requests = 0
        audit.install()
        threads.install()
        databases.install_sqlite()
        databases.install_loaded()
        clients.install_loaded()

    def recording(self, asked: str | None = None) -> Recording:
        """A recording for a request whose header field says *asked*."""
        databases.install_loaded()
        clients.install_loaded()
        self._requests += 1
        if self._requests % _LOOK_EVERY == 1:
            self._tell_unseen()
        return Recording(keep=asked == ASK_WRITES)

    def settle(self, endpoint: str, recording: Recording) -> Told:
        """The request of *recording* was handled by *endpoint*; an empty one is no route's.

        What the recording notes from now on is added to the endpoint's evidence.
        """
        name = endpoint or "no route"
        standing = self.ledger.settle(name, dict(recording.effects))
        recording.late = lambda effect, example: self.ledger.add_late(name, effect, example)
        if not endpoint and standing is Standing.SAFE:
            standing = judge(seen=0, wrote=0)
        return Told(endpoint, standing)

    def field(self, told: Told) -> str:
        """What the answer's header field is to say."""
        return write_told(told)

    def _tell_unseen(self) -> None:
        found = clients.unseen()
        if found:
            try:
                self.effects.keep_unwatched(found, datetime.now(UTC))
            except EffectsUnreadable:
                return  # the ledger says so
