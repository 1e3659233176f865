"""Clients that read, write and exchange registers, one operation at a time each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from moreton.kernel.rng import Rng
from moreton.sim.consensus.node.events import Answered
from moreton.sim.consensus.node.registers import Operation, Request
from moreton.sim.consensus.plan import Plan
from moreton.sim.linearizability import Recorder
from moreton.sim.world import World

_OPERATIONS: tuple[Operation, ...] = ("read", "read", "write", "write", "cas")


class Clients:
    """All clients of a run, and what they saw.

    *ask* hands a request to a node and says whether that is up; *nodes* says who may be asked.
    """

    def __init__(
        self,
        world: World,
        plan: Plan,
        rng: Rng,
        *,
        ask: Callable[[int, Request], bool],
        nodes: Callable[[], Sequence[int]],
    ) -> None:
        self.recorder = Recorder()
        self.counts: Counter[str] = Counter()
        self.served: set[int] = set()  # clients that got an answer since it was last emptied
        self._world, self._plan, self._rng = world, plan, rng
        self._ask, self._nodes = ask, nodes
        self._serials = [0] * plan.clients
        self._waits: dict[int, Request] = {}
        self._favourite: dict[int, int] = {}
        self._seen: dict[int, int] = {}  # a value that each register had lately
        self._value = 0
        self._stopped = False

    def start(self) -> None:
        """Let every client begin."""
        for client in range(self._plan.clients):
            self._think(client)

    def stop(self) -> None:
        """Let them ask nothing more."""
        self._stopped = True

    def answer(self, answered: Answered) -> None:
        """A node answers; nobody listens to one that comes too late."""
        client = answered.client
        request = self._waits.get(client)
        if request is None or request.serial != answered.serial:
            return
        del self._waits[client]
        now = self._world.now
        if answered.refused:
            self.recorder.fail(client, now)
            self._favourite.pop(client, None)
            self.counts["refused"] += 1
        else:
            self.recorder.ok(client, answered.value, now)
            self._note_value(request, answered.value)
            self.served.add(client)
            self.counts[request.operation] += 1
        # Whoever was refused tries elsewhere, and not at once.
        self._think(client, longer=3 if answered.refused else 1)

    def _think(self, client: int, *, longer: int = 1) -> None:
        delay = longer * self._plan.think_max * self._rng.random()
        self._world.at(delay, lambda: self._begin(client))

    def _begin(self, client: int) -> None:
        if self._stopped:
            return
        self._serials[client] += 1
        request = self._draw(client)
        node = self._favourite.setdefault(client, self._any_node())
        if self._rng.random() < 0.3:
            node = self._any_node()
        argument: Any = request.value
        if request.operation == "cas":
            argument = [request.expected or None, request.value]
        elif request.operation == "read":
            argument = None
        now = self._world.now
        self.recorder.invoke(client, request.operation, request.key, argument, now)
        self._waits[client] = request
        self._world.at(self._plan.patience, lambda: self._give_up(request))
        if not self._ask(node, request):
            self.answer(Answered(client, request.serial, refused=True))

    def _give_up(self, request: Request) -> None:
        client = request.client
        if self._waits.get(client) is not request:
            return
        del self._waits[client]
        self._favourite.pop(client, None)
        if request.operation == "read":
            self.recorder.fail(client, self._world.now)  # a read that nobody saw did nothing
        else:
            self.recorder.info(client, self._world.now)
        self.counts["unanswered"] += 1
        self._think(client)

    def _draw(self, client: int) -> Request:
        operation = _OPERATIONS[self._rng.randrange(len(_OPERATIONS))]
        key = self._rng.randrange(self._plan.keys)
        self._value += operation != "read"
        return Request(
            client, self._serials[client], operation, key, self._value, self._seen.get(key, 0)
        )

    def _note_value(self, request: Request, answer: Any) -> None:
        if request.operation == "read":
            self._seen[request.key] = answer or 0
        elif answer is not False:
            self._seen[request.key] = request.value

    def _any_node(self) -> int:
        nodes = self._nodes()
        return nodes[self._rng.randrange(len(nodes))]
