"""What a client knows, against a twin that knows all: outages and registries without memory."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from moreton.kernel.rng import seeded_rng
from moreton.kernel.time import Instant
from moreton.registry import Instance, InstanceId
from moreton.registry.core.documents import to_document
from moreton.registry.discovery.core.events import ServerEvent
from moreton.registry.discovery.core.following import (
    PAUSE_CAP,
    Following,
    OpenStream,
    StreamBroke,
    StreamTold,
)
from moreton.registry.discovery.core.known import DOUBT

START = Instant(0)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.integers(0, 7)),
        st.tuples(st.just("remove"), st.integers(0, 7)),
        st.tuples(st.just("break"), st.just(0)),
        st.tuples(st.just("forget"), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 40)),
    ),
    max_size=60,
)


def instance(number: int) -> Instance:
    return Instance(InstanceId(f"i{number}"), "orders", "10.0.0.1", 8000 + number)


@dataclass
class World:
    """A registry, its client, and the twin: since when the registry lacks what it once had."""

    now: Instant = START
    registered: set[int] = field(default_factory=set)
    gone: dict[int, Instant] = field(default_factory=dict)
    ever: set[int] = field(default_factory=set)
    is_open: bool = False
    machine: Following = field(init=False)

    def __post_init__(self) -> None:
        self.machine = Following("orders", rng=seeded_rng(1), now=self.now)

    def tell(self, name: str, **data: object) -> None:
        if self.is_open:
            event = ServerEvent(name, json.dumps({"revision": 1, **data}), "1")
            self.machine.handle(StreamTold(event), self.now)

    def register(self, number: int) -> None:
        self.registered.add(number)
        self.ever.add(number)
        self.gone.pop(number, None)
        self.tell("registered", instance=to_document(instance(number)))

    def remove(self, number: int) -> None:
        if number in self.registered:
            self.registered.discard(number)
            self.gone[number] = self.now
            self.tell("removed", service="orders", id=f"i{number}")
            if self.is_open:
                assert number not in self.known(), "what is removed is gone at once"

    def break_off(self) -> None:
        if self.is_open:
            before = self.known()
            self.is_open = False
            self.machine.handle(StreamBroke("gone"), self.now)
            assert self.known() == before, "an outage takes nothing away"

    def forget(self) -> None:
        """The registry is replaced by one that knows nobody."""
        self.break_off()
        for number in self.registered:
            self.gone[number] = self.now
        self.registered.clear()

    def wait(self, seconds: int) -> None:
        end = self.now + timedelta(seconds=seconds)
        while (deadline := self.machine.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            for effect in self.machine.wake(self.now):
                if isinstance(effect, OpenStream):
                    self.is_open = True
                    documents = [to_document(instance(number)) for number in self.registered]
                    self.tell("listed", instances=documents)
        self.now = end

    def known(self) -> set[int]:
        return {int(each.id[1:]) for each in self.machine.snapshot().instances}

    def check(self) -> None:
        known = self.known()
        assert known <= self.ever
        if self.is_open:
            assert self.registered <= known, "whoever is registered is known"
            for number in known - self.registered:
                assert InstanceId(f"i{number}") in self.machine.snapshot().doubted


@given(STEPS)
def test_client_knows_all_who_are_registered_and_forgets_the_others_in_time(
    steps: list[tuple[str, int]],
) -> None:
    world = World()
    for name, number in steps:
        match name:
            case "register":
                world.register(number)
            case "remove":
                world.remove(number)
            case "break":
                world.break_off()
            case "forget":
                world.forget()
            case _:
                world.wait(number)
        world.check()
    # Left in peace, it agrees with the registry.
    world.wait(int((DOUBT + PAUSE_CAP).total_seconds()) + 1)
    assert world.is_open
    assert world.known() == world.registered
