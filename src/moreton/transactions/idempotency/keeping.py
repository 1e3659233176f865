"""Where keys and answers are kept: a database, or this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Lock
from typing import Protocol

from moreton.kernel.arguments import check_duration, check_whole
from moreton.kernel.ids import new_id
from moreton.kernel.rng import system_rng
from moreton.kernel.time import Clock, SystemClock
from moreton.transactions.databases import Database, Session
from moreton.transactions.failpoints import Failpoint
from moreton.transactions.idempotency.core.claims import (
    Claim,
    Interrupted,
    Kept,
    Run,
    TakeOver,
    judge,
)
from moreton.transactions.idempotency.core.keys import Stored

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS moreton_idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL CHECK (key <> ''),
    fingerprint TEXT NOT NULL,
    token TEXT NOT NULL,
    lease_until_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL,
    status BIGINT NOT NULL,
    fields TEXT,
    body BYTEA,
    PRIMARY KEY (scope, key)
)""",
    "CREATE INDEX IF NOT EXISTS moreton_idempotency_expiry ON moreton_idempotency (expires_ms)",
)
_KEYS_MAX = 100_000
_ANSWER_BYTES_MAX = 64 * 1024 * 1024

_claim = Failpoint("idempotency.claim")
_claimed = Failpoint("idempotency.claimed")
_answer = Failpoint("idempotency.answer")
_answered = Failpoint("idempotency.answered")


@dataclass(frozen=True, slots=True)
class Slot:
    """A key of one caller."""

    scope: str
    key: str


class Keeper(Protocol):
    """Keeps what is known of keys. Each method is atomic."""

    def add(self, slot: Slot, kept: Kept, expires_ms: int, now_ms: int) -> Kept | None:
        """Keep *kept*, unless there is something that has not expired; then what that is."""
        ...

    def take_over(self, slot: Slot, token: str, new: Kept) -> bool:
        """Put *new* in the place of what *token* has left unanswered."""
        ...

    def answer(self, slot: Slot, token: str, status: int, stored: Stored | None) -> bool:
        """Keep the answer, if *token* still has the key."""
        ...

    def release(self, slot: Slot, token: str) -> None:
        """Forget the key, if *token* has not answered it."""
        ...

    def forget_expired(self, now_ms: int) -> int:
        """Remove what has expired; how many."""
        ...

    def close(self) -> None:
        """Let go of the database. May be called again."""
        ...


class Keys:
    """Claims on keys in *keeper*, for *expires_in*; a request that runs has its key for *lease*."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        expires_in: timedelta,
        lease: timedelta,
        interrupted: Interrupted,
        clock: Clock | None = None,
    ) -> None:
        check_duration("expires_in", expires_in)
        check_duration("lease", lease)
        self._keeper = keeper
        self._expires_in_ms = expires_in // timedelta(milliseconds=1)
        self._lease_ms = lease // timedelta(milliseconds=1)
        self._interrupted = Interrupted(interrupted)
        self._clock = clock or SystemClock()
        self._rng = system_rng()

    def claim(self, slot: Slot, fingerprint: str) -> Claim:
        """Whether to handle a request now, or what to do instead."""
        wall = self._clock.wall()
        now = int(wall.timestamp() * 1000)
        ours = Kept(fingerprint, new_id(wall, self._rng), now + self._lease_ms, 0, None)
        _claim()
        kept = self._keeper.add(slot, ours, now + self._expires_in_ms, now)
        _claimed()
        if kept is None:
            return Run(ours.token)
        claim = judge(kept, fingerprint, now, self._interrupted)
        if not isinstance(claim, TakeOver):
            return claim
        if self._keeper.take_over(slot, claim.token, ours):
            return Run(ours.token)
        # Somebody was faster: the key is as new.
        return self.claim(slot, fingerprint)

    def answer(self, slot: Slot, token: str, status: int, stored: Stored | None) -> None:
        """Keep how the request was answered; *stored* is `None` for what is too large."""
        _answer()
        self._keeper.answer(slot, token, status, stored)
        _answered()

    def release(self, slot: Slot, token: str) -> None:
        """It was not done: the next request with the key is handled."""
        self._keeper.release(slot, token)

    def forget_expired(self) -> int:
        """Remove what has expired; how many."""
        return self._keeper.forget_expired(int(self._clock.wall().timestamp() * 1000))


class DatabaseKeeper:
    """Keeps keys in a table of *database*, for all processes that use it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction() as session:
            for statement in _SCHEMA:
                session.run(statement)

    def add(self, slot: Slot, kept: Kept, expires_ms: int, now_ms: int) -> Kept | None:
        """As `Keeper.add`."""
        values = (slot.scope, slot.key, kept.fingerprint, kept.token, kept.lease_until_ms)
        new = self._database.run(
            "INSERT INTO moreton_idempotency "
            "(scope, key, fingerprint, token, lease_until_ms, expires_ms, status) "
            "VALUES (?, ?, ?, ?, ?, ?, 0) ON CONFLICT (scope, key) DO UPDATE SET "
            "fingerprint = excluded.fingerprint, token = excluded.token, "
            "lease_until_ms = excluded.lease_until_ms, expires_ms = excluded.expires_ms, "
            "status = 0, fields = NULL, body = NULL "
            "WHERE moreton_idempotency.expires_ms <= ?",
            *values, expires_ms, now_ms,
        )  # fmt: skip
        if new:
            return None
        found = _read(self._database, slot)
        # Released between the two.
        return self.add(slot, kept, expires_ms, now_ms) if found is None else found

    def take_over(self, slot: Slot, token: str, new: Kept) -> bool:
        """As `Keeper.take_over`."""
        return bool(
            self._database.run(
                "UPDATE moreton_idempotency SET token = ?, lease_until_ms = ? "
                "WHERE scope = ? AND key = ? AND token = ? AND status = 0",
                new.token, new.lease_until_ms, slot.scope, slot.key, token,
            )
        )  # fmt: skip

    def answer(self, slot: Slot, token: str, status: int, stored: Stored | None) -> bool:
        """As `Keeper.answer`."""
        fields = None if stored is None else json.dumps(stored.fields)
        body = None if stored is None else stored.body
        return bool(
            self._database.run(
                "UPDATE moreton_idempotency SET status = ?, fields = ?, body = ? "
                "WHERE scope = ? AND key = ? AND token = ?",
                status, fields, body, slot.scope, slot.key, token,
            )
        )  # fmt: skip

    def release(self, slot: Slot, token: str) -> None:
        """As `Keeper.release`."""
        self._database.run(
            "DELETE FROM moreton_idempotency "
            "WHERE scope = ? AND key = ? AND token = ? AND status = 0",
            slot.scope, slot.key, token,
        )  # fmt: skip

    def forget_expired(self, now_ms: int) -> int:
        """As `Keeper.forget_expired`."""
        return self._database.run("DELETE FROM moreton_idempotency WHERE expires_ms <= ?", now_ms)

    def close(self) -> None:
        """As `Keeper.close`."""
        self._database.close()


class MemoryKeeper:
    """Keeps up to *keys_max* keys in this process: for one process, and until it ends.

    When it is full the ones that expire first are forgotten first, though not yet expired. Answers
    above *answer_bytes_max* in all are forgotten, the oldest first, but not their keys: what was
    done is not done again.
    """

    def __init__(
        self, *, keys_max: int = _KEYS_MAX, answer_bytes_max: int = _ANSWER_BYTES_MAX
    ) -> None:
        check_whole("keys_max", keys_max, 1)
        check_whole("answer_bytes_max", answer_bytes_max, 0)
        self._keys_max = keys_max
        self._answer_bytes_max = answer_bytes_max
        self._kept: dict[Slot, tuple[Kept, int]] = {}
        # Bytes of each answer, the oldest first.
        self._answers: dict[Slot, int] = {}
        self._answer_bytes = 0
        self._lock = Lock()

    def add(self, slot: Slot, kept: Kept, expires_ms: int, now_ms: int) -> Kept | None:
        """As `Keeper.add`."""
        with self._lock:
            found = self._kept.get(slot)
            if found is not None and found[1] > now_ms:
                return found[0]
            if found is not None:
                self._forget(slot)
            while len(self._kept) >= self._keys_max:
                # All expire after the same time, so that the first in is the first out.
                self._forget(next(iter(self._kept)))
            self._kept[slot] = (kept, expires_ms)
            return None

    def take_over(self, slot: Slot, token: str, new: Kept) -> bool:
        """As `Keeper.take_over`."""
        with self._lock:
            return self._change_held(slot, token, lambda _: new)

    def answer(self, slot: Slot, token: str, status: int, stored: Stored | None) -> bool:
        """As `Keeper.answer`."""
        with self._lock:
            done = self._change_held(
                slot, token, lambda one: Kept(one.fingerprint, token, 0, status, stored)
            )
            if done and stored is not None:
                self._answers[slot] = size = _bytes_of(stored)
                self._answer_bytes += size
                while self._answer_bytes > self._answer_bytes_max:
                    self._forget_answer(next(iter(self._answers)))
            return done

    def release(self, slot: Slot, token: str) -> None:
        """As `Keeper.release`."""
        with self._lock:
            found = self._kept.get(slot)
            if found is not None and found[0].token == token and not found[0].is_answered:
                self._forget(slot)

    def forget_expired(self, now_ms: int) -> int:
        """As `Keeper.forget_expired`."""
        with self._lock:
            expired = [slot for slot, (_, expires) in self._kept.items() if expires <= now_ms]
            for slot in expired:
                self._forget(slot)
            return len(expired)

    def close(self) -> None:
        """As `Keeper.close`: nothing."""

    def _change_held(self, slot: Slot, token: str, change: Callable[[Kept], Kept]) -> bool:
        found = self._kept.get(slot)
        if found is None or found[0].token != token or found[0].is_answered:
            return False
        self._kept[slot] = (change(found[0]), found[1])
        return True

    def _forget(self, slot: Slot) -> None:
        del self._kept[slot]
        self._answer_bytes -= self._answers.pop(slot, 0)

    def _forget_answer(self, slot: Slot) -> None:
        kept, expires_ms = self._kept[slot]
        self._kept[slot] = (replace(kept, stored=None), expires_ms)
        self._answer_bytes -= self._answers.pop(slot)


def _bytes_of(stored: Stored) -> int:
    return len(stored.body) + sum(len(name) + len(value) for name, value in stored.fields)


def _read(database: Session, slot: Slot) -> Kept | None:
    rows = database.rows(
        "SELECT fingerprint, token, lease_until_ms, status, fields, body "
        "FROM moreton_idempotency WHERE scope = ? AND key = ?",
        slot.scope, slot.key,
    )  # fmt: skip
    if not rows:
        return None
    fingerprint, token, lease, status, fields, body = rows[0]
    stored = None
    if fields is not None:
        kept = tuple((name, value) for name, value in json.loads(fields))
        stored = Stored(status, kept, bytes(body))
    return Kept(fingerprint, token, lease, status, stored)
