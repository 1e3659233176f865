"""`/v1/kv` and `/v1/txn`."""

from __future__ import annotations

from moreton.registry.consul.core.keys import entries
from moreton.registry.consul.core.keys.entries import (
    FLAGS_MAX,
    VALUE_BYTES_MAX,
    Entry,
    Operation,
    is_write,
    level,
)
from moreton.registry.consul.core.keys.transactions import check_key, read_transaction, to_answer
from moreton.registry.consul.core.queries import Parameters, parse_options
from moreton.registry.consul.core.refusals import ConsulRequestRefused, bad
from moreton.registry.consul.following.state import ConsulState, entry_key
from moreton.registry.consul.following.topics import Topic
from moreton.registry.consul.messages import Answer, Headers, Request, encode_json, json_answer
from moreton.registry.consul.web.reading import Look, Reading
from moreton.registry.consul.writing import transact
from moreton.store import Store, prefix_end

_TRUE, _FALSE = Answer(b"true"), Answer(b"false")
_MISSING = Answer(b"", 404)
# A value may be anything, and no browser is to make something of it.
_RAW: Headers = (
    (b"content-type", b"text/plain"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox"),
)


class Keys:
    """The key-value store's endpoints."""

    def __init__(self, store: Store, state: ConsulState, reading: Reading) -> None:
        self._store = store
        self._state = state
        self._reading = reading

    async def get(self, request: Request) -> Answer:
        """One key, those below a prefix by `recurse`, or their names alone by `keys`."""
        key, parameters = request.rest, request.parameters
        is_tree = "keys" in parameters or "recurse" in parameters
        check_key(key, may_be_empty=is_tree)
        start = entry_key(key)
        if "keys" in parameters:
            separator = parameters.first("separator") or parameters.first("seperator")
            take = lambda: self._names(key, separator)  # noqa: E731 - a look is a function
        elif "recurse" in parameters:
            take = lambda: self._tree(key)  # noqa: E731 - as above
        else:
            take = lambda: self._one(key, raw="raw" in parameters)  # noqa: E731 - as above
        topic = Topic("prefix" if is_tree else "key", key)
        keys = (start, prefix_end(start) if is_tree else None)
        return await self._reading.answer(
            request, Look(self._state, topic, take, keys, always=True)
        )

    async def put(self, request: Request) -> Answer:
        """Set a key: in any case, by `cas`, by `acquire` or by `release`."""
        key, parameters = request.rest, request.parameters
        check_key(key)
        _refuse_together(parameters, "cas", "acquire", "release")
        flags = parameters.number("flags") if "flags" in parameters else 0
        if flags > FLAGS_MAX:
            raise bad(f"Invalid value for flags: {flags}")
        value = await request.body(limit=VALUE_BYTES_MAX)
        operation = Operation("set", key, value, flags)
        if "cas" in parameters:
            operation = Operation("cas", key, value, flags, index=parameters.number("cas"))
        for name, verb in (("acquire", "lock"), ("release", "unlock")):
            if name in parameters:
                session = parameters.first(name)
                operation = Operation(verb, key, value, flags, session=session)
        return await self._do(operation)

    async def delete(self, request: Request) -> Answer:
        """Delete a key, in any case or by `cas`, or by `recurse` all below a prefix."""
        key, parameters = request.rest, request.parameters
        _refuse_together(parameters, "recurse", "cas")
        check_key(key, may_be_empty="recurse" in parameters)
        if "recurse" in parameters:
            return await self._do(Operation("delete-tree", key))
        if "cas" in parameters:
            return await self._do(Operation("delete-cas", key, index=parameters.number("cas")))
        return await self._do(Operation("delete", key))

    async def transact(self, request: Request) -> Answer:
        """Several operations, all or none: 409 says which cannot be."""
        operations = read_transaction(await request.json())
        if not any(map(is_write, operations)):
            parse_options(request.parameters)
        results, failed = await transact(self._store, operations)
        return json_answer(to_answer(results, failed), status=409 if failed else 200)

    async def _do(self, operation: Operation) -> Answer:
        _, failed = await transact(self._store, [operation])
        if not failed:
            return _TRUE
        # Someone else's lock or an older index is an answer, a session that is none a mistake.
        if failed[0].is_mistake:
            raise ConsulRequestRefused(500, failed[0].what)
        return _FALSE

    def _one(self, key: str, *, raw: bool) -> Answer:
        entry = self._state.entry(key)
        if entry is None:
            return _MISSING
        return Answer(entry.value, 200, _RAW) if raw else _shown([entry])

    def _tree(self, prefix: str) -> Answer:
        found = self._state.tree(prefix)
        return _shown(found) if found else _MISSING

    def _names(self, prefix: str, separator: str) -> Answer:
        found = level(self._state.keys(prefix), prefix, separator)
        return json_answer(found) if found or not prefix else _MISSING


def _shown(found: list[Entry]) -> Answer:
    return Answer(encode_json([entries.to_document(each) for each in found]))


def _refuse_together(parameters: Parameters, *names: str) -> None:
    given = [name for name in names if name in parameters]
    if len(given) > 1:
        raise bad(f"Conflicting flags: {' and '.join(given)}")
