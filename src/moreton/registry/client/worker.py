"""One registration of this process: what its heartbeat says, and what others may see of it."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from moreton.kernel.rng import Rng
from moreton.kernel.time import Clock, Instant
from moreton.registry.client.wire import Api, Offer
from moreton.registry.core.heartbeat import (
    Announce,
    Confirmed,
    Heartbeat,
    HeartbeatEffect,
    HeartbeatEvent,
    LeaveRequested,
    OfferChanged,
    Phase,
    SendDeregistration,
    SendRegistration,
    SendRenewal,
)
from moreton.registry.core.standing import InstanceState

_LOG = logging.getLogger("moreton.registry")
_UNCERTAIN = (
    '"%s" may not be registered (%s): nobody may find it; it serves all the same, and registering '
    "is tried again and again"
)
_LEFT_SILENTLY = (
    '"%s" could not deregister instance "%s" (%s): requests may be sent to it until its lease ends'
)


class Worker:
    """What its `Keeper` drives, in the keeper's thread, and what other threads see and ask.

    *new_api* makes another connection to the same control plane, for another thread.
    """

    new_api: Callable[[], Api]  # the keeper's to set

    def __init__(self, offer: Offer, *, clock: Clock, rng: Rng) -> None:
        self.offer = offer
        self.trouble = ""
        self.since = 0  # the revision of the first registration, once it is known
        self.first_answer = threading.Event()
        self.owner_pid = os.getpid()
        self.wake_keeper = threading.Event()
        self._machine = Heartbeat(ttl=offer.ttl, rng=rng, now=clock.now())
        self._requests: deque[SendRegistration | SendRenewal | SendDeregistration] = deque()
        self._changed = threading.Condition()
        self._phase = Phase.JOINING
        self._is_leaving = self._has_begun_to_leave = False
        self._wanted = offer.instance.state
        self._stated: InstanceState | None = None  # as the registry confirmed it last
        self._is_registering = False

    @property
    def phase(self) -> Phase:
        """The phase that was announced last."""
        return self._phase

    def leave(self) -> None:
        """Ask to leave the registry; returns at once."""
        self._is_leaving = True
        self.wake_keeper.set()

    def restate(self, state: InstanceState) -> None:
        """Be registered as *state* from now on; returns at once."""
        self._wanted = state
        self.wake_keeper.set()

    def wait_stated(self, state: InstanceState, seconds: float) -> bool:
        """Wait until the registry has confirmed *state*, at most *seconds*; whether it has."""
        if os.getpid() != self.owner_pid:
            return False
        ended = {Phase.LEAVING, Phase.LEFT}
        with self._changed:
            self._changed.wait_for(lambda: self._stated is state or self._phase in ended, seconds)
            return self._stated is state and self._phase not in ended

    def wait_phase(self, phase: Phase, seconds: float) -> bool:
        """Wait until *phase* is entered, at most *seconds*; whether it was."""
        if os.getpid() != self.owner_pid:
            return False  # after a fork the thread is the parent's
        with self._changed:
            return self._changed.wait_for(lambda: self._phase is phase, seconds)

    # --- in the keeper's thread -----------------------------------------------------------------

    def wake(self, now: Instant) -> bool:
        """Find out what is due; whether that is a renewal."""
        if self._is_leaving and not self._has_begun_to_leave:
            self._has_begun_to_leave = True
            self._take(self._machine.handle(LeaveRequested(), now))
        if self._wanted is not self.offer.instance.state:
            instance = replace(self.offer.instance, state=self._wanted)
            self.offer = replace(self.offer, instance=instance)
            self._take(self._machine.handle(OfferChanged(), now))
        self._take(self._machine.wake(now))
        return self.wants_renewal

    def hasten(self, now: Instant) -> None:
        """A renewal that is due soon goes along with those that are due."""
        self._take(self._machine.hasten(now))

    @property
    def wants_renewal(self) -> bool:
        """Whether it is a renewal that comes next."""
        return bool(self._requests) and isinstance(self._requests[0], SendRenewal)

    def next_request(self) -> SendRegistration | SendRenewal | SendDeregistration | None:
        """What to ask the registry next, if anything; `answered` is to follow."""
        request = self._requests.popleft() if self._requests else None
        self._is_registering = isinstance(request, SendRegistration)
        return request

    def answered(self, event: HeartbeatEvent, now: Instant) -> None:
        """What came of the request."""
        if self._is_registering and isinstance(event, Confirmed):
            self.since = self.since or event.revision
            with self._changed:
                self._stated = self.offer.instance.state
                self._changed.notify_all()
        self._take(self._machine.handle(event, now))
        self.first_answer.set()

    def deadline(self) -> Instant | None:
        """When the next request is due."""
        return self._machine.deadline()

    def fail(self) -> None:
        """A fault of ours must not become the program's: it ends here."""
        self._show(Phase.LEFT, "a fault; see the log")
        self.first_answer.set()

    def _take(self, effects: Sequence[HeartbeatEffect]) -> None:
        for effect in effects:
            if isinstance(effect, Announce):
                self._show(effect.phase, effect.reason)
            else:
                self._requests.append(effect)

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
