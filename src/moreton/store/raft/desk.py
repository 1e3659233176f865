"""What the leader answers to the nodes of its cluster: about leases, and about members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import timedelta

from moreton.consensus.core.messages import NodeId
from moreton.consensus.host import NoLeader
from moreton.store.core.errors import StoreError
from moreton.store.core.model import LeaseId
from moreton.store.raft.core.questions import pack_answer, pack_error, read_question
from moreton.store.raft.core.renewals import pack_leases, pack_ttls, read_leases
from moreton.store.raft.membership import Membership
from moreton.store.raft.tenure import Tenure, TenureOver

_LEASES, _MEMBERS = b"k", b"o"


def about_leases(leases: Sequence[LeaseId]) -> bytes:
    """The question whether *leases* live on, and the wish that they do."""
    return _LEASES + pack_leases(leases)


def about_members(question: bytes) -> bytes:
    """A question about who belongs to the cluster."""
    return _MEMBERS + question


class LeaderDesk:
    """Node *node* while it leads; its *tenure* is the present one, if there is one."""

    def __init__(
        self, node: NodeId, membership: Membership, *, tenure: Callable[[], Tenure | None]
    ) -> None:
        self._node = node
        self._membership = membership
        self._tenure = tenure

    async def answer(self, question: bytes) -> bytes:
        """The answer; what is refused is one, too. Raises `NoLeader`: ask again, who leads then."""
        kind, content = question[:1], question[1:]
        if kind == _MEMBERS:
            return await self._answer_of_members(content)
        if kind != _LEASES:
            message = f"a question of kind {kind!r} is not known to this version"
            raise ValueError(message)
        try:
            return pack_ttls(await self._renewed(read_leases(content)))
        except (TenureOver, StoreError) as error:
            # Also while it stops: whoever asks is to ask the next leader.
            why = "the leader cannot tell whether it still leads"
            raise NoLeader(node=self._node, waited=timedelta(0), why=why) from error

    async def _renewed(self, leases: Sequence[LeaseId]) -> Sequence[timedelta | None]:
        tenure = self._tenure()
        if tenure is None:
            raise TenureOver
        return await tenure.renew(leases)

    async def _answer_of_members(self, question: bytes) -> bytes:
        do, values = read_question(question)
        try:
            match do:
                case "admit":
                    admitted = await self._membership.admit(values["address"])
                    return pack_answer(asdict(admitted))
                case "dismiss":
                    risk = values["at_any_risk"]
                    await self._membership.dismiss(values["node"], at_any_risk=risk)
                case "move":
                    await self._membership.move(values["node"], values["address"])
                case _:
                    message = f"a question to {do!r} is not known to this version"
                    raise ValueError(message)
        except StoreError as error:
            return pack_error(error)
        return pack_answer({})
