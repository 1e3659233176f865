"""Changes of the members and of the leader, on the node that leads.

A change is known again by its token when it is applied; a joint one is done when it is left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import assert_never

from moreton.consensus.core.configuration import (
    ChangeKind,
    ConfigurationChange,
    NodeChange,
)
from moreton.consensus.core.events import (
    LeaderChanged,
    ProposeChange,
    Refusal,
    Refuse,
    TransferLeadership,
)
from moreton.consensus.core.messages import Configuration, NodeId
from moreton.consensus.host.driver import Driver
from moreton.consensus.host.errors import (
    ChangeRefused,
    NoLeader,
    OutcomeUnknown,
    TransferFailed,
)
from moreton.consensus.host.replicated.members import Members, decode_addresses, mark, token_of

_REASONS = {
    Refusal.CHANGE_PENDING: "another change is under way",
    Refusal.NOT_A_VOTER: "it is not another voter",
    Refusal.TRANSFERRING: "leadership is being handed over",
    Refusal.TOO_MUCH_UNCOMMITTED: "too much waits to be committed",
}
# They pass: a new leader, too, takes no change until it knows which ones it found.
_PASSING = frozenset({Refusal.CHANGE_PENDING, Refusal.TRANSFERRING, Refusal.TOO_MUCH_UNCOMMITTED})


@dataclass(slots=True, eq=False)
class _Change:
    done: asyncio.Future[Configuration]
    applied: bool = False
    refused: str = ""  # why not yet; it is asked for again


class Changes:
    """The changes that this node was asked for as the leader, and are not done."""

    def __init__(self, driver: Driver, *, nonce: int, again_after: timedelta) -> None:
        self._driver = driver
        self._again_after = again_after.total_seconds()
        self._nonce = nonce
        self._number = 0
        self._loop = asyncio.get_running_loop()
        self._changes: dict[bytes, _Change] = {}
        self._transfers: list[tuple[NodeId, int, asyncio.Future[None]]] = []

    async def change(
        self, change: ConfigurationChange, members: Members, *, within: timedelta
    ) -> Configuration:
        """Make *change*; the configuration once it, and nothing joint, is in force."""
        node = self._driver.node
        present = node.status().configuration
        if _is_so(change, members, present):
            return present
        _check(change, members, present)
        self._number += 1
        context = mark(self._nonce, self._number, change.context)
        waiting = _Change(self._loop.create_future())
        token = token_of(context)
        self._changes[token] = waiting
        self._driver.tell(ProposeChange(replace(change, context=context)))
        try:
            async with asyncio.timeout(within.total_seconds()):
                return await waiting.done
        except TimeoutError as error:
            if waiting.refused:
                raise ChangeRefused(detail=waiting.refused) from error
            me = node.status().node
            raise OutcomeUnknown(node=me, what="a change of members", waited=within) from error
        finally:
            del self._changes[token]

    async def transfer(self, transferee: NodeId, *, within: timedelta) -> None:
        """Hand leadership to *transferee*; done when this node knows that it leads."""
        status = self._driver.node.status()
        if status.leader == transferee:
            return
        done: asyncio.Future[None] = self._loop.create_future()
        entry = (transferee, status.term, done)
        self._transfers.append(entry)
        self._driver.tell(TransferLeadership(transferee))
        try:
            async with asyncio.timeout(within.total_seconds()):
                await done
        except TimeoutError as error:
            detail = f"it did not take over within {within.total_seconds():g}s"
            raise TransferFailed(transferee=transferee, detail=detail) from error
        finally:
            self._transfers.remove(entry)

    def applied(self, change: ConfigurationChange) -> None:
        """*change* was applied here."""
        waiting = self._changes.get(token_of(change.context))
        if waiting is not None:
            waiting.applied = True
            self._settle()

    def configuration_changed(self) -> None:
        """A joint configuration may have been left."""
        self._settle()

    def leader_changed(self, effect: LeaderChanged) -> None:
        """A transfer may be done, or another may lead now."""
        for transferee, term, done in self._transfers:
            if effect.leader is None or effect.term <= term or done.done():
                continue
            if effect.leader == transferee:
                done.set_result(None)
            else:
                detail = f"node {effect.leader} leads now"
                done.set_exception(TransferFailed(transferee=transferee, detail=detail))

    def refused(self, effect: Refuse) -> None:
        """The core did not do it: it has had no effect."""
        detail = effect.detail or _REASONS.get(effect.refusal, effect.refusal.value)
        match effect.event:
            case ProposeChange(change):
                self._refuse_change(change, effect, detail)
            case TransferLeadership(transferee):
                for target, _, done in self._transfers:
                    if target == transferee and not done.done():
                        done.set_exception(TransferFailed(transferee=target, detail=detail))
            case _:
                raise AssertionError(f"nobody asked for {effect.event}")

    def fail_all(self, error: Exception) -> None:
        """The node has stopped."""
        waiting: list[asyncio.Future[Configuration] | asyncio.Future[None]] = []
        waiting += [one.done for one in self._changes.values()]
        waiting += [done for _, _, done in self._transfers]
        for done in waiting:
            if not done.done():
                done.set_exception(error)

    def _refuse_change(self, change: ConfigurationChange, effect: Refuse, detail: str) -> None:
        waiting = self._changes.get(token_of(change.context))
        if waiting is None or waiting.done.done():
            return
        if effect.refusal in {Refusal.NO_LEADER, Refusal.NOT_LEADER}:
            node = self._driver.node.status().node
            waiting.done.set_exception(NoLeader(node=node, waited=timedelta(0), why=detail))
        elif effect.refusal in _PASSING:
            waiting.refused = detail
            self._loop.call_later(self._again_after, self._ask_again, change)
        else:
            waiting.done.set_exception(ChangeRefused(detail=detail))

    def _ask_again(self, change: ConfigurationChange) -> None:
        waiting = self._changes.get(token_of(change.context))
        if waiting is not None and not waiting.done.done():
            waiting.refused = ""
            self._driver.tell(ProposeChange(change))

    def _settle(self) -> None:
        configuration = self._driver.node.status().configuration
        if configuration.is_joint and configuration.auto_leave:
            return
        for waiting in self._changes.values():
            if waiting.applied and not waiting.done.done():
                waiting.done.set_result(configuration)


def _is_so(change: ConfigurationChange, members: Members, present: Configuration) -> bool:
    """Whether nothing is left to do: whoever asks again after a lost answer gets what is."""
    try:
        addresses = decode_addresses(change.context)
    except ValueError:
        return False
    where = members.addresses
    if present.is_joint or any(where.get(node) != at for node, at in addresses.items()):
        return False
    return bool(change.changes) and all(_one_is_so(one, present) for one in change.changes)


def _one_is_so(change: NodeChange, present: Configuration) -> bool:
    match change.kind:
        case ChangeKind.ADD_VOTER:
            return change.node in present.voters
        case ChangeKind.ADD_LEARNER:
            return change.node in present.learners
        case ChangeKind.REMOVE:
            return change.node not in present.members()
        case ChangeKind.UPDATE:
            return True
        case _:
            assert_never(change.kind)


def _check(change: ConfigurationChange, members: Members, present: Configuration) -> None:
    """Refuse what the core would take, but hosts could not live with."""
    try:
        addresses = decode_addresses(change.context)
    except ValueError as error:
        raise ChangeRefused(detail=f"its context holds no addresses ({error})") from error
    for one in change.changes:
        if one.kind in {ChangeKind.ADD_VOTER, ChangeKind.ADD_LEARNER}:
            _check_added(one.node, members, present, addresses)
    for node, address in addresses.items():
        others = {**members.addresses, **addresses}
        taken = [other for other, where in others.items() if where == address and other != node]
        if taken:
            raise ChangeRefused(detail=f"address {address} of node {node} is node {taken[0]}'s")


def _check_added(
    node: NodeId, members: Members, present: Configuration, addresses: Mapping[NodeId, str]
) -> None:
    if node in present.members():
        return
    if node <= members.highest:
        raise ChangeRefused(
            detail=f"id {node} is not above {members.highest}, the highest that a node ever had, "
            "and no id is given twice"
        )
    if node not in addresses:
        raise ChangeRefused(detail=f"nobody says where node {node} is")
