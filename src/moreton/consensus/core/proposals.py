"""What clients and operators ask of the cluster: entries, another configuration, another leader.

Source: Ongaro 2014, chapters 3.10 (transfer), 4 (membership); etcd for the limits.
"""

from __future__ import annotations

from moreton.consensus.core.configuration import (
    ChangeNotPossible,
    ConfigurationChange,
    apply_change,
    decode_change,
    encode_change,
)
from moreton.consensus.core.events import (
    Propose,
    ProposeChange,
    Refusal,
    Refuse,
    TransferLeadership,
)
from moreton.consensus.core.log import entry_bytes
from moreton.consensus.core.messages import (
    Entry,
    EntryKind,
    ForwardProposal,
    ForwardTransfer,
    NodeId,
    TimeoutNow,
)
from moreton.consensus.core.reads import Reads
from moreton.consensus.core.replication import Replication
from moreton.consensus.core.state import State


class Proposals:
    """The leader takes them, or says why not; a follower passes them on."""

    def __init__(self, state: State, replication: Replication, reads: Reads) -> None:
        self._state = state
        self._replication = replication
        self._reads = reads

    def propose(self, event: Propose | ProposeChange) -> None:
        """Append what *event* asks for, or pass it on, or refuse."""
        state = self._state
        entry = _entry(event)
        if state.is_leader:
            refusal, detail = self._objection(entry)
            if refusal is None:
                self._append(entry)
            else:
                self._refuse(event, refusal, detail)
        elif state.leader is None:
            self._refuse(event, Refusal.NO_LEADER)
        elif not state.settings.forward:
            self._refuse(event, Refusal.NOT_LEADER)
        else:
            state.send(
                ForwardProposal(
                    source=state.node, target=state.leader, term=state.term, entries=(entry,)
                )
            )

    def receive_forwarded(self, message: ForwardProposal) -> None:
        """Append what a follower passed on; what cannot be is dropped, as a lost message is."""
        for entry in message.entries:
            if self._state.is_leader and self._objection(entry)[0] is None:
                self._append(entry)

    def transfer(self, event: TransferLeadership) -> None:
        """Bring the transferee up to date, then tell it to campaign."""
        state = self._state
        target = event.transferee
        if not state.is_leader:
            if state.leader is None:
                self._refuse(event, Refusal.NO_LEADER)
            else:
                state.send(
                    ForwardTransfer(
                        source=state.node,
                        target=state.leader,
                        term=state.term,
                        transferee=target,
                    )
                )
        elif target not in state.voter_peers():
            if target != state.node:
                self._refuse(event, Refusal.NOT_A_VOTER)
        elif target != state.transferee:
            state.transferee = target
            state.transfer_due = state.now + state.settings.election_timeout
            if not self.hand_over(target):
                self._replication.want(target, even_empty=True)

    def hand_over(self, node: NodeId) -> bool:
        """Tell *node* to campaign if it is the transferee and has the whole log."""
        state = self._state
        progress = state.progress.get(node)
        # Its answer may just have committed its own removal.
        if node != state.transferee or progress is None:
            return False
        if progress.match != state.log.last_index:
            return False
        self._reads.give_up_lease()
        state.send(TimeoutNow(source=state.node, target=node, term=state.term))
        return True

    def settle(self) -> None:
        """What a leader does about the configuration that is in force now."""
        state = self._state
        if not state.is_leader:
            return
        if not state.is_voter:
            # It was removed, and that is committed (section 4.2.2): others lead from now on.
            self._replication.flush()
            self._hand_on()
            state.become_follower(state.term, None)
            return
        if state.transferee is not None and state.transferee not in state.voter_peers():
            state.abort_transfer()
        if state.configuration.auto_leave and state.pending_change_index <= state.log.committed:
            self._append(_entry(ProposeChange(ConfigurationChange())))

    def _hand_on(self) -> None:
        """Let whoever has the most campaign at once, instead of waiting for a silent leader."""
        state = self._state
        heard = [node for node in state.voter_peers() if state.progress[node].recently_active]
        if heard:
            target = max(heard, key=lambda node: state.progress[node].match)
            state.send(TimeoutNow(source=state.node, target=target, term=state.term))

    def _append(self, entry: Entry) -> None:
        self._replication.append((entry,))
        if entry.kind is EntryKind.CONFIGURATION:
            self._state.pending_change_index = self._state.log.last_index

    def _objection(self, entry: Entry) -> tuple[Refusal | None, str]:
        state = self._state
        if state.transferee is not None:
            return Refusal.TRANSFERRING, ""
        # A single proposal of any size may go when nothing else is under way.
        waiting = state.uncommitted_bytes
        if waiting and waiting + entry_bytes(entry) > state.settings.uncommitted_bytes_max:
            return Refusal.TOO_MUCH_UNCOMMITTED, ""
        return self._objection_to_change(entry)

    def _objection_to_change(self, entry: Entry) -> tuple[Refusal | None, str]:
        state = self._state
        if entry.kind is not EntryKind.CONFIGURATION:
            return None, ""
        if state.pending_change_index > state.log.committed:
            return Refusal.CHANGE_PENDING, ""
        try:
            apply_change(state.configuration, decode_change(entry.data))
        except (ChangeNotPossible, ValueError) as error:
            return Refusal.CHANGE_NOT_POSSIBLE, str(error)
        return None, ""

    def _refuse(
        self, event: Propose | ProposeChange | TransferLeadership, why: Refusal, detail: str = ""
    ) -> None:
        self._state.effects.append(Refuse(event, why, self._state.leader, detail))


def _entry(event: Propose | ProposeChange) -> Entry:
    if isinstance(event, Propose):
        return Entry(0, 0, EntryKind.DATA, event.data)
    return Entry(0, 0, EntryKind.CONFIGURATION, encode_change(event.change))
