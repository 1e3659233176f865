"""The thread that keeps the registrations of a process; it never raises into its program."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, assert_never

from moreton.kernel.places import Finder
from moreton.kernel.time import Clock
from moreton.registry.client.wire import Api
from moreton.registry.client.worker import Worker
from moreton.registry.core.heartbeat import (
    HeartbeatEvent,
    Phase,
    SendDeregistration,
    SendRegistration,
    SendRenewal,
)

_LOG = logging.getLogger("moreton.registry")
# Who is asked, by whom, and from where it is looked for.
_Key: TypeAlias = tuple[str | None, str | None, Path]


class Keeper:
    """Drives the heartbeats of all workers that ask the same registry, from one daemon thread.

    Over one connection, and several renewals in one request.
    """

    def __init__(self, key: _Key, clock: Clock) -> None:
        api, token, _ = key
        self._key = key
        self._api = Api(Finder(api=api, token=token))
        self._clock = clock
        self._news = threading.Event()
        self._workers: list[Worker] = []
        self._thread = threading.Thread(target=self._run, name="moreton-registry", daemon=True)

    def take(self, worker: Worker) -> None:
        """Keep *worker* registered from now on."""
        worker.wake_keeper = self._news
        worker.new_api = self._api.another
        self._workers.append(worker)
        self._news.set()
        if not self._thread.is_alive():
            self._thread.start()

    def _run(self) -> None:
        try:
            while True:
                # First this: what comes after it is heard of.
                self._news.clear()
                workers = self._present()
                if not workers:
                    return
                self._step(workers)
                self._wait(workers)
        except Exception:  # noqa: BLE001 - a fault of ours must not become the program's
            _LOG.exception("the registrations of this program ended by a fault")
            with _state.lock:
                _state.keepers.pop(self._key, None)
            for worker in self._workers:
                worker.fail()
        finally:
            self._api.close()

    def _present(self) -> Sequence[Worker]:
        """Those that have not left. Once there are none, the next one gets a keeper of its own."""
        with _state.lock:
            self._workers = [each for each in self._workers if each.phase is not Phase.LEFT]
            if not self._workers:
                _state.keepers.pop(self._key, None)
            return tuple(self._workers)

    def _step(self, workers: Sequence[Worker]) -> None:
        now = self._clock.now()
        due = [each for each in workers if each.wake(now)]
        for each in workers if due else ():
            each.hasten(now)
        renewing = [each for each in workers if each.wants_renewal]
        if len(renewing) > 1:
            self._renew(renewing)
        for each in workers:
            while (request := each.next_request()) is not None:
                each.answered(self._ask(each, request), self._clock.now())

    def _renew(self, workers: Sequence[Worker]) -> None:
        for each in workers:
            each.next_request()
        events = self._api.renew_many([each.offer for each in workers])
        for each, event in zip(workers, events, strict=True):
            each.answered(event, self._clock.now())

    def _ask(
        self, worker: Worker, request: SendRegistration | SendRenewal | SendDeregistration
    ) -> HeartbeatEvent:
        match request:
            case SendRegistration():
                return self._api.register(worker.offer)
            case SendRenewal():
                return self._api.renew(worker.offer)
            case SendDeregistration():
                return self._api.deregister(worker.offer)
            case _:
                assert_never(request)

    def _wait(self, workers: Sequence[Worker]) -> None:
        deadlines = [due for each in workers if (due := each.deadline()) is not None]
        if deadlines:
            pause = (min(deadlines) - self._clock.now()).total_seconds()
            self._news.wait(max(pause, 0))


class _State:
    """The keepers of this process."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A child has none of its parent's threads, and maybe a lock that one of them held."""
        self.lock = threading.Lock()
        self.keepers: dict[_Key, Keeper] = {}


_state = _State()
os.register_at_fork(after_in_child=_state.forget)


def keep(worker: Worker, *, api: str | None, token: str | None, clock: Clock) -> None:
    """Let *worker* be kept by the keeper of those that ask the same registry."""
    key = (api, token, Path.cwd())
    with _state.lock:
        keeper = _state.keepers.get(key)
        if keeper is None:
            keeper = _state.keepers[key] = Keeper(key, clock)
        keeper.take(worker)
