"""The registry as Consul's clients see it: every instance, by whomever it was registered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar, assert_never

from moreton.kernel.time import Clock
from moreton.registry.consul.core import extras
from moreton.registry.consul.core.indexes import Indexes
from moreton.registry.consul.core.shapes import Document, NodeNames, Row, checks_of
from moreton.registry.consul.following.mirror import Mirror
from moreton.registry.consul.following.shown import Shown
from moreton.registry.consul.following.topics import Topic, Waiters
from moreton.registry.consul.messages import Answer
from moreton.registry.core.changes import (
    InstanceRegistered,
    InstanceRemoved,
    InstancesListed,
    InstanceUpdated,
)
from moreton.registry.core.documents import PREFIX, instance_key, parse_key
from moreton.registry.core.fold import Fold
from moreton.registry.core.instance import Instance, InstanceId
from moreton.registry.core.standing import InstanceSource
from moreton.store import Store, WatchBatch

MemberT = TypeVar("MemberT")

# The part of an instance that is kept for Consul's clients alone.
EXTRAS = "consul"
SERVICES, CHECKS = Topic("services"), Topic("checks")
# Answers that are kept until what they tell changes; their parts are kept as well.
_REMEMBERED_MAX = 4096
_REMEMBERED_BYTES_MAX = 16 * 1024 * 1024


class Catalog:
    """What lies below the registry's prefix, by service and by id."""

    def __init__(self, store: Store, waiters: Waiters, node: NodeNames, *, clock: Clock) -> None:
        self.node = node
        self.on_change: Callable[[], None] = lambda: None
        self.indexes: Indexes[Topic] = Indexes()
        self.shown = Shown(node)
        self.mirror = Mirror(store, PREFIX, notice=self._notice, clock=clock)
        self._store = store
        self._waiters = waiters
        self._fold = Fold()
        self._services: dict[str, dict[InstanceId, Instance]] = {}
        self._ids: dict[str, set[str]] = {}  # instance id -> the services that have it
        self._checks: dict[str, set[tuple[str, str]]] = {}  # check id -> the instances that have it
        self._rows: dict[str, dict[str, Row]] = {}  # by service and id, in order of ids
        self._unchanged: dict[tuple[str, str], Row] = {}
        self._tags: dict[str, tuple[str, ...]] = {}
        self._answers: OrderedDict[tuple[Topic, tuple[str, ...]], tuple[int, Answer]] = (
            OrderedDict()
        )
        self._answers_bytes = 0

    def services(self) -> dict[str, tuple[str, ...]]:
        """Every service with the tags of its instances, in order."""
        return dict(sorted(self._tags.items()))

    def rows(self, service: str) -> tuple[Row, ...]:
        """The instances of *service* in order of ids: the same order for all who ask."""
        return tuple(self._rows_of(service).values())

    def everything(self) -> Iterator[Row]:
        """Every instance, in order of services and ids."""
        for service in sorted(self._services):
            yield from self.rows(service)

    def registered_here(self) -> Iterator[Row]:
        """The instances that Consul's clients registered."""
        return (row for row in self.everything() if row.instance.source is InstanceSource.CONSUL)

    def find(self, instance_id: str) -> tuple[Row, ...]:
        """The instances with that id; those that Consul's clients registered, if there is one."""
        services = self._ids.get(instance_id, ())
        return _own_first(self.row(service, instance_id) for service in sorted(services))

    def find_check(self, check_id: str) -> tuple[Row, ...]:
        """The instances with a check of that id; as `find` does."""
        return _own_first(self.row(*who) for who in sorted(self._checks.get(check_id, ())))

    def row(self, service: str, instance_id: str) -> Row | None:
        """One instance."""
        return self._rows_of(service).get(instance_id)

    def checks(self, rows: Iterable[Row]) -> list[Document]:
        """The checks of *rows*."""
        return [check for row in rows for check in checks_of(row, self.node)]

    def index(self, topic: Topic) -> int:
        """The index of *topic*."""
        return self.indexes.of(topic)

    def adopt(self, topic: Topic, index: int) -> None:
        """A client was given *index* for *topic*, maybe by another node."""
        self.indexes.adopt(topic, index, newest=self._store.statistics().revision)

    def remembered(
        self, topic: Topic, variant: tuple[str, ...], make: Callable[[], bytes]
    ) -> Answer:
        """The JSON that *make* gives, made once for each change of *topic*."""
        key, index = (topic, variant), self.index(topic)
        found = self._answers.get(key)
        if found is not None and found[0] == index:
            self._answers.move_to_end(key)
            return found[1]
        answer = Answer(make())
        if found is not None:
            self._answers_bytes -= len(found[1].body)
        self._answers[key] = (index, answer)
        self._answers.move_to_end(key)
        self._answers_bytes += len(answer.body)
        while len(self._answers) > _REMEMBERED_MAX or self._answers_bytes > _REMEMBERED_BYTES_MAX:
            _, (_, oldest) = self._answers.popitem(last=False)
            self._answers_bytes -= len(oldest.body)
        return answer

    def _rows_of(self, service: str) -> dict[str, Row]:
        found = self._rows.get(service)
        if found is None:
            instances = sorted(self._services.get(service, {}).items())
            if not instances:
                return {}
            found = self._rows[service] = {name: self._row(each) for name, each in instances}
        return found

    def _row(self, instance: Instance) -> Row:
        who = (instance.service, instance.id)
        found = self._unchanged.get(who)
        if found is None:
            found = self._unchanged[who] = self._made_row(instance)
        return found

    def _made_row(self, instance: Instance) -> Row:
        key = instance_key(instance.service, instance.id)
        own = self.mirror.get(key)
        more = self.mirror.get(instance_key(instance.service, instance.id, EXTRAS))
        parts = self.mirror.range(key + b"/")
        latest = max((kv.mod_revision for kv in parts), default=1)
        return Row(
            instance,
            instance.checks,
            extras.decode(None if more is None else more.value),
            create_index=1 if own is None else own.create_revision,
            modify_index=max(latest, 1 if own is None else own.mod_revision),
        )

    def _notice(self, batch: WatchBatch) -> None:
        self.indexes.advance(batch.revision)
        changed: dict[str, None] = {}
        for event in batch.events:
            key = parse_key(event.kv.key)
            if key.part == EXTRAS:
                changed[key.service] = None
                self._unchanged.pop((key.service, key.id), None)
        for change in self._fold.apply(batch):
            match change:
                case InstanceRegistered(_, instance) | InstanceUpdated(_, instance, _):
                    changed[instance.service] = None
                    self._put(instance)
                case InstanceRemoved(_, service, instance_id, _):
                    changed[service] = None
                    self._remove(service, instance_id)
                    self.shown.forget(service, instance_id)
                case InstancesListed():
                    raise AssertionError("a batch is no list")
                case _:
                    assert_never(change)
        if changed:
            self._tell(changed, batch.revision)

    def _put(self, instance: Instance) -> None:
        self._remove(instance.service, instance.id)
        self._services.setdefault(instance.service, {})[instance.id] = instance
        self._ids.setdefault(instance.id, set()).add(instance.service)
        for check in instance.checks:
            self._checks.setdefault(check.id, set()).add((instance.service, instance.id))

    def _remove(self, service: str, instance_id: InstanceId) -> None:
        instances = self._services.get(service, {})
        gone = instances.pop(instance_id, None)
        if gone is None:
            return
        self._unchanged.pop((service, instance_id), None)
        if not instances:
            del self._services[service]
        _discard(self._ids, instance_id, service)
        for check in gone.checks:
            _discard(self._checks, check.id, (service, instance_id))

    def _tell(self, services: Iterable[str], revision: int) -> None:
        topics = [CHECKS]
        names_changed = False
        for service in services:
            self._rows.pop(service, None)
            topics.append(Topic("service", service))
            names_changed |= self._note_tags(service)
        if names_changed:
            topics.append(SERVICES)
        for topic in topics:
            self.indexes.touch(topic, revision)
        self._waiters.wake(topics)
        self.on_change()

    def _note_tags(self, service: str) -> bool:
        """Whether what `catalog/services` tells of *service* is not as it was."""
        instances: Sequence[Instance] = tuple(self._services.get(service, {}).values())
        tags = tuple(sorted({tag for instance in instances for tag in instance.tags}))
        before = self._tags.get(service)
        if not instances:
            self._tags.pop(service, None)
            return before is not None
        self._tags[service] = tags
        return tags != before


def _own_first(rows: Iterable[Row | None]) -> tuple[Row, ...]:
    """Those that Consul's clients registered, if there are any, else all."""
    found = [row for row in rows if row is not None]
    own = [row for row in found if row.instance.source is InstanceSource.CONSUL]
    return tuple(own or found)


def _discard(known: dict[str, set[MemberT]], key: str, member: MemberT) -> None:
    members = known.get(key, set())
    members.discard(member)
    if not members:
        known.pop(key, None)
