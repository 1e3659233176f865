"""The agent of one process: what it looks at, and where it keeps what it saw."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from moreton.strangler.agent.core.effects import Harmless
from moreton.strangler.agent.core.packing import Writes, pack
from moreton.strangler.agent.core.standing import (
    ASK_WRITES,
    DRY_RUN_METHOD,
    DRY_RUN_PATH,
    KEY_CHARS_MIN,
    KEY_VARIABLE,
    SEEN_MIN,
    Standing,
    Told,
    asks,
    judge,
    write_told,
)
from moreton.strangler.agent.errors import EffectsUnreadable
from moreton.strangler.agent.ledger import Ledger
from moreton.strangler.agent.recording import WRITES_MAX, Recording
from moreton.strangler.agent.sqlite import Effects
from moreton.strangler.agent.watching import audit, clients, databases, threads

DEFAULT_PATH = Path(".moreton/effects.sqlite")
PATH_VARIABLE = "MORETON_EFFECTS"
DRY = str(Standing.DRY)
_LOOK_EVERY = 256  # requests, for modules that were loaded meanwhile and are not seen


class Agent:
    """Watches this process from the first one on that is made, and keeps evidence in *path*.

    *path* is `MORETON_EFFECTS`, or `.moreton/effects.sqlite` where the process was started. The
    evidence of another *release* does not count. An endpoint is safe once *seen_min* requests were
    seen and none wrote; *harmless* are effects that do not count, each with its reason. Who knows
    *key*, or `MORETON_DRY_RUN_KEY`, is told what was written, and may ask for dry runs.
    """

    def __init__(
        self,
        path: Path | str | None = None,
        *,
        release: str = "",
        seen_min: int = SEEN_MIN,
        harmless: Iterable[tuple[str, str]] = (),
        key: str | None = None,
    ) -> None:
        if seen_min < 1:
            raise ValueError(f"seen_min is {seen_min}; a route nobody asked for is not safe")
        self._key = os.environ.get(KEY_VARIABLE, "") if key is None else key
        if 0 < len(self._key) < KEY_CHARS_MIN:
            raise ValueError(
                f"the key of dry runs has {len(self._key)} characters; who guesses it reads what "
                f"is written: take {KEY_CHARS_MIN} or more"
            )
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
        return Recording(keep=self._is_asked(ASK_WRITES, asked))

    def dry_run(self, method: str, path: str, asked: str | None) -> Recording | None:
        """A recording for a request that is a dry run of another one; none for any other."""
        if method != DRY_RUN_METHOD or path != DRY_RUN_PATH or not self._is_asked(DRY, asked):
            return None
        databases.install_loaded()
        clients.install_loaded()
        return Recording(dry=True)

    def _is_asked(self, word: str, asked: str | None) -> bool:
        return bool(self._key and asked) and hmac.compare_digest(
            asks(word, self._key).encode(), str(asked).encode("utf-8", "replace")
        )

    def settle(self, endpoint: str, recording: Recording) -> Told:
        """The request of *recording* was handled by *endpoint*; an empty one is no route's.

        What the recording notes from now on is added to the endpoint's evidence.
        """
        name = endpoint or "no route"
        standing = self.ledger.settle(name, dict(recording.effects))
        recording.late = lambda effect, example: self.ledger.add_late(name, effect, example)
        if not endpoint and standing is Standing.SAFE:
            standing = judge(seen=0, wrote=0)
        return Told(endpoint, standing, _packed(recording) if recording.keep else "")

    def ran_dry(self, endpoint: str, recording: Recording) -> Told:
        """The dry run of *recording* is over, and all of it was taken back."""
        return Told(endpoint, Standing.DRY, _packed(recording))

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


def _packed(recording: Recording) -> str:
    writes = recording.writes[:WRITES_MAX]
    more = len(recording.writes) > WRITES_MAX
    return pack(Writes(writes, more=more, blocked=recording.blocked))
