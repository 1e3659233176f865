"""Runs a node of a Raft cluster: on a disk, over a network, for a state machine.

```python
host = RaftHost(1, disk=disk, transport=transport, machine=machine, addresses=addresses)
await host.start()
result = await host.propose(b"set x 1")  # committed on a majority, applied here
await host.read_barrier()  # from now on the machine here is as new as any answer given before
```
"""

from moreton.consensus.host.errors import (
    AnswerFailed,
    ChangeRefused,
    CommandTooLarge,
    HostClosed,
    NodeFailed,
    NoLeader,
    OutcomeUnknown,
    Overloaded,
    TransferFailed,
)
from moreton.consensus.host.raft_host import RaftHost
from moreton.consensus.host.replicated.members import encode_addresses
from moreton.consensus.host.replicated.state import first_snapshot, machine_part
from moreton.consensus.host.settings import HostSettings, HostStatus

__all__ = [
    "AnswerFailed",
    "ChangeRefused",
    "CommandTooLarge",
    "HostClosed",
    "HostSettings",
    "HostStatus",
    "NoLeader",
    "NodeFailed",
    "OutcomeUnknown",
    "Overloaded",
    "RaftHost",
    "TransferFailed",
    "encode_addresses",
    "first_snapshot",
    "machine_part",
]
