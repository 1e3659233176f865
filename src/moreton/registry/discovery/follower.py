"""The thread that follows one service, and the balancer that it feeds."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import assert_never

from moreton.kernel.rng import Rng
from moreton.kernel.time import Clock, Instant
from moreton.registry.core.instance import InstanceId
from moreton.registry.discovery.copies import Copies
from moreton.registry.discovery.core.balancing import Balancer, BalancerStatistics
from moreton.registry.discovery.core.events import EventParser
from moreton.registry.discovery.core.following import (
    Announce,
    Following,
    FollowingEffect,
    FollowingEvent,
    OpenStream,
    Phase,
    Publish,
    StreamBroke,
    StreamTold,
)
from moreton.registry.discovery.core.known import Snapshot
from moreton.registry.discovery.core.members import Member, Outcome
from moreton.registry.discovery.stream import Stream, StreamUnavailable

# A copy on disk is at most so old, and a heartbeat, while changes come one after another.
COPY_PAUSE = timedelta(seconds=1)
_LOG = logging.getLogger("moreton.registry")
_APART = (
    'changes of "%s" do not arrive (%s): requests go to the %d instances that were known last, '
    "and following is tried again and again"
)
_SEEKING = 'nobody says where "%s" is (%s): asking is tried again and again'

Listener = Callable[[Snapshot], object]


class Follower:
    """One service: a daemon thread that keeps what is known up to date, and what others ask of it.

    Everything that is public may be called from any thread, and returns at once; listeners are
    called by the follower's own thread, and must return soon.
    """

    def __init__(
        self,
        service: str,
        stream: Stream,
        balancer: Balancer,
        *,
        clock: Clock,
        rng: Rng,
        copies: Copies | None = None,
        remembered: Snapshot | None = None,
    ) -> None:
        self.service = service
        self._stream = stream
        self._balancer = balancer
        self._clock = clock
        self._copies = copies
        remembered = remembered or (copies.read(service) if copies is not None else None)
        self._machine = Following(service, rng=rng, now=clock.now(), remembered=remembered)
        self._lock = threading.Lock()
        self._listeners: list[Listener] = []
        self._dropped: deque[Member] = deque()
        self._closing = threading.Event()
        self._started = clock.now()
        self._doubting: threading.Timer | None = None
        self._is_written = True
        self._written_at: Instant | None = None
        self._snapshot = self._machine.snapshot()
        self._balancer.update(self._snapshot.instances, self._started)
        self._thread = threading.Thread(
            target=self._run, name=f"moreton-discovery-{service}", daemon=True
        )

    @property
    def snapshot(self) -> Snapshot:
        """What is known now."""
        return self._snapshot

    @property
    def is_answered(self) -> bool:
        """Whether anything is known, be it only that there is no instance."""
        return self._machine.is_answered

    @property
    def answer(self) -> Snapshot | None:
        """What is known now; `None` before anything is."""
        return self._snapshot if self.is_answered else None

    @property
    def trouble(self) -> str:
        """Why no changes arrive just now; empty when they do."""
        return self._machine.trouble

    @property
    def age_seconds(self) -> float:
        """For how long it follows."""
        return (self._clock.now() - self._started).total_seconds()

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def close(self) -> None:
        """Stop following; returns at once."""
        self._closing.set()
        self._stream.close()
        with self._lock:
            if self._doubting is not None:
                self._doubting.cancel()
            listeners, self._listeners = self._listeners, []
        self._call(listeners)

    def join(self, seconds: float) -> None:
        """Wait for the thread's end, at most *seconds*."""
        self._thread.join(seconds)

    def listen(self, listener: Listener) -> None:
        """Call *listener* after each change, and now if anything is known."""
        with self._lock:
            self._listeners.append(listener)
        if self.is_answered or self._closing.is_set():
            listener(self._snapshot)

    def forget(self, listener: Listener) -> None:
        """Do not call *listener* any more."""
        with self._lock:
            if listener in self._listeners:
                self._listeners.remove(listener)

    def choose(self, avoid: Collection[InstanceId]) -> Member | None:
        """A member for a request; `None` if none serves."""
        with self._lock:
            now = self._clock.now()
            while self._dropped:
                self._balancer.ended(self._dropped.popleft(), Outcome.ABANDONED, now)
            return self._balancer.choose(now, avoid)

    def ended(self, member: Member, outcome: Outcome) -> None:
        """A request ended."""
        with self._lock:
            self._balancer.ended(member, outcome, self._clock.now())

    def drop(self, member: Member) -> None:
        """As `ended`, of a request that says nothing; takes no lock, so that a finaliser may."""
        self._dropped.append(member)

    def inherit(self, before: Follower) -> None:
        """Take over the listeners of *before*, the follower of the parent of a fork."""
        # Those of followers go with them; and no lock is taken that nobody may ever release.
        own = (each for each in before._listeners if not _is_followers(each))
        self._listeners.extend(own)

    def callers(self, snapshot: Snapshot) -> None:
        """These are the instances that call this service, with the zones they are in."""
        zones: dict[str, float] = {}
        for each in snapshot.instances:
            zones[each.zone] = zones.get(each.zone, 0.0) + 1.0
        with self._lock:
            self._balancer.callers(zones)

    def statistics(self) -> BalancerStatistics:
        """How its instances fare."""
        with self._lock:
            return self._balancer.statistics(self._clock.now())

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._live()
            except Exception:  # noqa: BLE001 - see below
                # A fault of ours must not leave a program with what it knew at noon for ever.
                _LOG.exception("following %s failed by a fault; it begins anew", self.service)
                self._perform(self._tell(StreamBroke("a fault; see the log")))

    def _live(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                effects = self._machine.wake(self._clock.now())
                deadline = self._machine.deadline()
            if effects:
                self._perform(effects)
                continue
            assert deadline is not None, "no stream is open, so there is a time to open one"
            pause = (deadline - self._clock.now()).total_seconds()
            self._closing.wait(max(pause, 0.0))

    def _perform(self, effects: Iterable[FollowingEffect]) -> None:
        for effect in effects:
            match effect:
                case OpenStream():
                    self._read()
                case Publish(snapshot):
                    self._publish(snapshot)
                case Announce(phase, reason):
                    self._announce(phase, reason)
                case _:
                    assert_never(effect)

    def _read(self) -> None:
        """Follow the stream to its end."""
        parser = EventParser()
        try:
            response = self._stream.open()
            for part in self._stream.parts(response):
                self._perform(self._tell(*map(StreamTold, parser.feed(part))))
                self._write_copy()
        except (StreamUnavailable, ValueError) as error:
            self._write_copy(at_last=True)
            if not self._closing.is_set():
                self._perform(self._tell(StreamBroke(str(error))))

    def _tell(self, *events: FollowingEvent) -> Iterable[FollowingEffect]:
        """What follows; of many changes that come at once, what they come to."""
        with self._lock:
            now = self._clock.now()
            effects = [each for event in events for each in self._machine.handle(event, now)]
        last = next((each for each in reversed(effects) if isinstance(each, Publish)), None)
        return [each for each in effects if each is last or not isinstance(each, Publish)]

    def _publish(self, snapshot: Snapshot) -> None:
        with self._lock:
            self._snapshot = snapshot
            self._balancer.update(snapshot.instances, self._clock.now())
            self._keep_in_mind()
            listeners = tuple(self._listeners)
        self._call(listeners)
        self._is_written = False

    def _call(self, listeners: Iterable[Listener]) -> None:
        for listener in listeners:
            try:
                listener(self._snapshot)
            except Exception:  # noqa: BLE001 - it spoils nothing for the others
                _LOG.exception("a listener failed on the instances of %s", self.service)

    def _write_copy(self, *, at_last: bool = False) -> None:
        """Soon after a change; not for each of many, as the next heartbeat comes here, too."""
        if self._copies is None or self._is_written:
            return
        now = self._clock.now()
        if at_last or self._written_at is None or now - self._written_at >= COPY_PAUSE:
            self._is_written, self._written_at = True, now
            self._copies.write(self._snapshot)

    def _keep_in_mind(self) -> None:
        """While the thread reads, somebody else has to end the doubt."""
        ends = self._machine.doubt_ends
        if ends is None and self._doubting is not None:
            self._doubting.cancel()
            self._doubting = None
        if self._doubting is None and ends is not None and not self._closing.is_set():
            seconds = max((ends - self._clock.now()).total_seconds(), 0.0)
            self._doubting = threading.Timer(seconds, self._end_doubt)
            self._doubting.daemon = True
            self._doubting.start()

    def _end_doubt(self) -> None:
        with self._lock:
            self._doubting = None
            effects = self._machine.end_doubt(self._clock.now())
            self._keep_in_mind()
        self._perform(effects)

    def _announce(self, phase: Phase, reason: str) -> None:
        count = len(self._snapshot.instances)
        if phase is Phase.APART:
            _LOG.warning(_APART, self.service, reason, count)
        elif phase is Phase.SEEKING:
            _LOG.warning(_SEEKING, self.service, reason)
        else:
            _LOG.info('changes of "%s" arrive', self.service)


def _is_followers(listener: Listener) -> bool:
    return isinstance(getattr(listener, "__self__", None), Follower)
