"""The thread that drives one heartbeat machine."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Iterable
from typing import assert_never

from moreton.kernel.rng import Rng
from moreton.kernel.time import Clock
from moreton.registry.client.wire import Api, Offer
from moreton.registry.core.heartbeat import (
    Announce,
    Heartbeat,
    HeartbeatEffect,
    HeartbeatEvent,
    LeaveRequested,
    Phase,
    SendDeregistration,
    SendRegistration,
    SendRenewal,
)

_LOG = logging.getLogger("moreton.registry")
_UNCERTAIN = (
    '"%s" may not be registered (%s): nobody may find it; it serves all the same, and registering '
    "is tried again and again"
)
_LEFT_SILENTLY = (
    '"%s" could not deregister instance "%s" (%s): requests may be sent to it until its lease ends'
)


class Worker:
    """A daemon thread, and what others may see of it. It never raises into its program."""

    def __init__(self, offer: Offer, api: Api, *, clock: Clock, rng: Rng) -> None:
        self.offer = offer
        self.trouble = ""
        self.first_answer = threading.Event()
        self.owner_pid = os.getpid()
        self._api = api
        self._clock = clock
        self._machine = Heartbeat(ttl=offer.ttl, rng=rng, now=clock.now())
        self._changed = threading.Condition()
        self._phase = Phase.JOINING
        self._leaving = threading.Event()
        name = f"moreton-registry-{offer.instance.service}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @property
    def phase(self) -> Phase:
        """The phase that was announced last."""
        return self._phase

    def start(self) -> None:
        """Begin to register."""
        self._thread.start()

    def leave(self) -> None:
        """Ask the thread to leave the registry; returns at once."""
        self._leaving.set()

    def wait_phase(self, phase: Phase, seconds: float) -> bool:
        """Wait until *phase* is entered, at most *seconds*; whether it was."""
        if os.getpid() != self.owner_pid:
            return False  # after a fork the thread is the parent's
        with self._changed:
            return self._changed.wait_for(lambda: self._phase is phase, seconds)

    def _run(self) -> None:
        try:
            self._live()
        except Exception:  # noqa: BLE001 - a fault of ours must not become the program's
            _LOG.exception("the registration of %s ended by a fault", self.offer.instance.service)
            self._show(Phase.LEFT, "a fault; see the log")
        finally:
            self.first_answer.set()
            self._api.close()

    def _live(self) -> None:
        while not self._leaving.is_set():
            effects = self._machine.wake(self._clock.now())
            if effects:
                self._perform(effects)
                self.first_answer.set()
            deadline = self._machine.deadline()
            assert deadline is not None, "no request is under way, so the next one has its time"
            pause = (deadline - self._clock.now()).total_seconds()
            self._leaving.wait(max(pause, 0))
        self._perform(self._machine.handle(LeaveRequested(), self._clock.now()))

    def _perform(self, effects: Iterable[HeartbeatEffect]) -> None:
        todo = deque(effects)
        while todo:
            effect = todo.popleft()
            if isinstance(effect, Announce):
                self._show(effect.phase, effect.reason)
                continue
            todo.extend(self._machine.handle(self._ask(effect), self._clock.now()))

    def _ask(self, effect: SendRegistration | SendRenewal | SendDeregistration) -> HeartbeatEvent:
        match effect:
            case SendRegistration():
                return self._api.register(self.offer)
            case SendRenewal():
                return self._api.renew(self.offer)
            case SendDeregistration():
                return self._api.deregister(self.offer)
            case _:
                assert_never(effect)

    def _show(self, phase: Phase, reason: str) -> None:
        with self._changed:
            self._phase = phase
            self.trouble = reason
            self._changed.notify_all()
        service, instance_id = self.offer.instance.service, self.offer.instance_id
        if phase is Phase.REGISTERED:
            _LOG.info('registered "%s" as instance "%s"', service, instance_id)
        elif phase is Phase.LEFT and reason:
            _LOG.warning(_LEFT_SILENTLY, service, instance_id, reason)
        elif reason:
            _LOG.warning(_UNCERTAIN, service, reason)
