"""An etcd as one: which member is asked, who we are to it, and when to try again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from moreton.kernel.rng import Rng, system_rng
from moreton.resilience.core.backoff import Backoff
from moreton.store.etcd.core.address import EtcdAddress
from moreton.store.etcd.core.messages import Document, number
from moreton.store.etcd.core.refusals import Kind
from moreton.store.etcd.endpoints import Exchange, Lost, Refused, Unsent
from moreton.store.etcd.errors import (
    EtcdAnswerLost,
    EtcdLoginRefused,
    EtcdUnreachable,
    EtcdWentBack,
    OtherEtcd,
)

_LOG = logging.getLogger("moreton.store.etcd")
# Calls under way at a time; more wait. Each has a connection.
CALLS_MAX = 64
# What may be repeated is not waited for any longer before another member is asked.
ATTEMPT_SECONDS = 3.0
BACKOFF = Backoff(initial=timedelta(milliseconds=50), cap=timedelta(seconds=1))
# A token that was just given out may be unknown to a member that lags behind.
_LOGINS_MAX = 3
_RANGE, _KV, _LOGIN = "/v3/kv/range", "/v3/kv/", "/v3/auth/authenticate"
_READS = (_RANGE, "/v3/lease/keepalive", "/v3/lease/timetolive")
_ANYTHING = {"key": "AA==", "limit": "1", "keys_only": True, "serializable": True}
# A member without a leader ends its streams, where it would else fall silent.
_REQUIRE_LEADER = {"grpc-metadata-hasleader": "true"}


class Gateway:
    """Calls and streams, at the member that answered last, else at the next."""

    def __init__(self, address: EtcdAddress) -> None:
        self.address = address
        self.revision = 0
        self.calls_under_way = 0
        self._exchange = Exchange(address)
        self._rng = system_rng()
        self._at = 0
        self._cluster: str | None = None
        self._known: set[str] = set()
        self._trouble: str | None = None
        self._token: str | None = None
        self._auth_off = address.user is None
        self._logging_in = asyncio.Lock()
        self._turn = asyncio.Semaphore(CALLS_MAX)

    @property
    def endpoint(self) -> str:
        """The member that is asked next."""
        return self.address.endpoints[self._at]

    async def call(self, path: str, body: Document, *, repeatable: bool) -> dict[str, Any]:
        """The answer of the first member that gives one in time.

        A call that is not *repeatable* is repeated only when it was certainly not carried out.
        Raises `Refused` for what etcd itself refuses, and the errors of this package.
        """
        self.calls_under_way += 1
        try:
            async with self._turn:
                return await self._try(path, body, repeatable=repeatable)
        finally:
            self.calls_under_way -= 1

    @asynccontextmanager
    async def stream(
        self, path: str, body: Document
    ) -> AsyncIterator[tuple[str, AsyncGenerator[dict[str, Any], None]]]:
        """A stream at the present member, which is named; it ends when that is in trouble."""
        endpoint = self.endpoint
        headers = {**await self._login(endpoint, ATTEMPT_SECONDS), **_REQUIRE_LEADER}
        async with self._exchange.stream(endpoint, path, body, headers) as documents:
            yield endpoint, documents

    async def probe(self, endpoint: str) -> None:
        """Return if *endpoint* answers. Raises as `Exchange.ask`."""
        headers = await self._login(endpoint, ATTEMPT_SECONDS)
        await self._meet(endpoint, headers, ATTEMPT_SECONDS)

    def leave(self, endpoint: str, reason: str) -> None:
        """Ask another member from now on, if there is one."""
        if self._trouble is None:
            _LOG.warning("etcd at %s is in trouble: %s", endpoint, reason)
        self._trouble = reason
        self._known.discard(endpoint)
        if self.endpoint == endpoint:
            self._at = (self._at + 1) % len(self.address.endpoints)

    def forget_login(self) -> None:
        """Log in again before the next request."""
        self._token = None
        self._auth_off = self.address.user is None

    def is_fine(self, endpoint: str) -> None:
        """*endpoint* answered."""
        if self._trouble is not None:
            _LOG.info("etcd answers again, at %s", endpoint)
        self._trouble = None

    def check_cluster(self, endpoint: str, answer: Document) -> None:
        """Raises `OtherEtcd` if *answer* comes from another cluster than those before."""
        found = answer.get("header", {}).get("cluster_id")
        if found is None:
            return
        self._cluster = self._cluster or found
        if found != self._cluster:
            raise OtherEtcd(endpoint=endpoint, found=found, expected=self._cluster)

    async def close(self) -> None:
        """Close all connections."""
        await self._exchange.close()

    async def _try(self, path: str, body: Document, *, repeatable: bool) -> dict[str, Any]:
        trial = _Trial(self.address, asyncio.get_running_loop().time())
        while True:
            endpoint, token = self.endpoint, self._token
            try:
                return await self._ask(endpoint, path, body, trial.seconds(repeatable=repeatable))
            except Unsent as error:
                reason = str(error)
            except Lost as error:
                reason = str(error)
                if not repeatable:
                    self.leave(endpoint, reason)
                    raise EtcdAnswerLost(endpoint=endpoint, reason=reason) from error
                trial.unsure = True
            except Refused as error:
                reason = self._on_refused(error, trial, endpoint, token, repeatable=repeatable)
            self.leave(endpoint, reason)
            if not await trial.pause(self._rng):
                if trial.unsure and path not in _READS:
                    raise EtcdAnswerLost(endpoint=endpoint, reason=reason)
                raise EtcdUnreachable(endpoints=self.address.endpoints, reason=reason)

    def _on_refused(
        self, error: Refused, trial: _Trial, endpoint: str, token: str | None, *, repeatable: bool
    ) -> str:
        """Why to try again. Raises what ends the call."""
        reason = error.refusal.reason
        match error.refusal.kind:
            case Kind.LOGIN_NEEDED if self.address.user is not None and trial.logins < _LOGINS_MAX:
                trial.logins += 1
                if token == self._token:
                    self.forget_login()
            case Kind.LOGIN_NEEDED:
                raise EtcdLoginRefused(user=self.address.user, reason=repr(reason)) from error
            case Kind.NOT_HERE:
                pass
            case Kind.UNSURE:
                if not repeatable:
                    self.leave(endpoint, reason)
                    raise EtcdAnswerLost(endpoint=endpoint, reason=repr(reason)) from error
                trial.unsure = True
            case _:
                raise Refused(error.refusal, repeated=trial.unsure) from error
        return repr(reason)

    async def _ask(
        self, endpoint: str, path: str, body: Document, seconds: float
    ) -> dict[str, Any]:
        headers = await self._login(endpoint, seconds)
        if endpoint not in self._known and path not in _READS:
            await self._meet(endpoint, headers, seconds)
        seen = self.revision
        answer = await self._exchange.ask(endpoint, path, body, headers, seconds)
        self.check_cluster(endpoint, answer)
        self.is_fine(endpoint)
        if path.startswith(_KV):
            # What was asked after an answer came cannot know less than that answer.
            found = number(answer.get("header", {}), "revision")
            if found < seen:
                raise EtcdWentBack(found=found, seen=seen)
            self.revision = max(self.revision, found)
        return answer

    async def _meet(self, endpoint: str, headers: Mapping[str, str], seconds: float) -> None:
        """Make sure that *endpoint* is a member of our cluster, before anything is written."""
        try:
            answer = await self._exchange.ask(endpoint, _RANGE, _ANYTHING, headers, seconds)
            self.check_cluster(endpoint, answer)
        except Lost as error:
            raise Unsent(str(error)) from error
        except Refused as error:
            if error.refusal.kind is Kind.UNSURE:
                raise Unsent(error.refusal.reason) from error
        self._known.add(endpoint)

    async def _login(self, endpoint: str, seconds: float) -> dict[str, str]:
        try:
            # Whoever waits for the login of another waits no longer than for its own.
            async with asyncio.timeout(seconds), self._logging_in:
                if self._token is None and not self._auth_off:
                    await self._authenticate(endpoint, seconds)
        except TimeoutError as error:
            raise Unsent(f"no login at {endpoint} within {seconds:.3g} s") from error
        return {} if self._token is None else {"authorization": self._token}

    async def _authenticate(self, endpoint: str, seconds: float) -> None:
        user = self.address.user
        body = {"name": user, "password": await self._password()}
        try:
            answer = await self._exchange.ask(endpoint, _LOGIN, body, {}, seconds)
        except Lost as error:
            # Nothing was written yet, whatever became of the login.
            raise Unsent(str(error)) from error
        except Refused as error:
            if error.refusal.kind is Kind.AUTH_OFF:
                self._auth_off = True
                return
            if error.refusal.kind in (Kind.UNSURE, Kind.NOT_HERE):
                raise Unsent(error.refusal.reason) from error
            raise EtcdLoginRefused(user=user, reason=repr(error.refusal.reason)) from error
        self._token = str(answer["token"])

    async def _password(self) -> str:
        file = self.address.password_file
        if file is None:
            return self.address.password or ""
        try:
            # Read again at every login: it may have been changed.
            return (await asyncio.to_thread(Path(file).read_text)).rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = f"the password file cannot be read: {error}"
            raise EtcdLoginRefused(user=self.address.user, reason=reason) from error


class _Trial:
    """One call's attempts: how many there were, what they said, and the time that is left."""

    def __init__(self, address: EtcdAddress, now: float) -> None:
        self.unsure = False
        self.logins = 0
        self._address = address
        self._until = now + address.timeout.total_seconds()
        self._failures = 0

    def seconds(self, *, repeatable: bool) -> float:
        """How long the next attempt may take."""
        left = max(self._until - asyncio.get_running_loop().time(), 0.001)
        # Waiting for another member to answer is pointless where there is none.
        alone = len(self._address.endpoints) == 1
        return left if alone or not repeatable else min(left, ATTEMPT_SECONDS)

    async def pause(self, rng: Rng) -> bool:
        """Wait before the next attempt, once each member had one; whether there is time for it."""
        self._failures += 1
        rounds, at = divmod(self._failures, len(self._address.endpoints))
        left = self._until - asyncio.get_running_loop().time()
        delay = 0.0
        if at == 0:
            delay = BACKOFF.seconds(rounds, rng)
        if delay >= left:
            return False
        await asyncio.sleep(delay)
        return True
