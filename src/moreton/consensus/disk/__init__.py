"""The log of one node on a real disk: what it says is there outlives the machine's crash.

```python
found(folder, cluster=cluster, node=1, voters=[1], data=first_snapshot({1: "10.0.0.1:7400"}))
disk = LogDisk(folder, cluster=cluster, node=1)  # for a `RaftHost`
```

Guarantees: what `write` returned from is read back, or the node does not start; a write that a
crash interrupted is there as a whole or not at all; a changed byte is found and named. It cannot
know that someone took the newest frames or files away whole: a node's folder is never restored
from a copy.
"""

from moreton.consensus.disk.errors import (
    DiskError,
    DiskFailing,
    DiskFull,
    FolderEmpty,
    FolderInUse,
    FolderNewer,
    FolderNotEmpty,
    FolderOfAnother,
    FolderUnusable,
    LogDamaged,
)
from moreton.consensus.disk.identity import Identity, read_identity
from moreton.consensus.disk.log_disk import LogDisk
from moreton.consensus.disk.making import found, join

__all__ = [
    "DiskError",
    "DiskFailing",
    "DiskFull",
    "FolderEmpty",
    "FolderInUse",
    "FolderNewer",
    "FolderNotEmpty",
    "FolderOfAnother",
    "FolderUnusable",
    "Identity",
    "LogDamaged",
    "LogDisk",
    "found",
    "join",
    "read_identity",
]
