"""What a rate limit service is to do, as given on the command line."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from moreton.ratelimit.errors import RateLimitServerNotStarted
from moreton.ratelimit.rls.core.tree import Away
from moreton.ratelimit.rls.service import Answering
from moreton.ratelimit.rls.stores import LocalStore, Store

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where memory is shared, if there is such
PROCESSES_MAX = 64
DEFAULT_LISTEN = "127.0.0.1:8081"


@dataclass(frozen=True, slots=True)
class Plan:
    """*path* has the descriptors, *listen* where Envoys ask, *store* where the counts are.

    *rules* is a `moreton.yaml` whose rules in scope exact are held for its gateways; in *last_good*
    they are kept for a start with bad ones.

    A store is an address of Redis, a path of a file that processes of this machine share, or empty:
    then in this process, or among the *processes* if they are several. *pages* is where metrics and
    health are, and the next port for each further process.
    """

    path: Path | None
    listen: str = DEFAULT_LISTEN
    store: str = ""
    processes: int = 1
    pages: str = ""
    rules: Path | None = None
    last_good: Path | None = None
    merge: bool = False
    away: Away | None = None
    budget: timedelta = timedelta(milliseconds=50)
    answering: Answering = field(default_factory=Answering)
    look_every: timedelta = timedelta(seconds=1)


def open_store(plan: Plan) -> Store:
    """The store of *plan*; raises `RateLimitServerNotStarted` where it cannot be used."""
    try:
        return _open(plan)
    except ImportError as error:
        raise RateLimitServerNotStarted(
            "no library speaks to Redis: counts cannot be kept there; install moreton[redis]"
        ) from error
    except ValueError as error:
        raise RateLimitServerNotStarted(f"{error}; nothing is served") from error


def _open(plan: Plan) -> Store:
    if "://" in plan.store:
        from moreton.ratelimit.rls.stores.redis import RedisStore  # noqa: PLC0415 - an extra

        return RedisStore(plan.store, budget=plan.budget)
    if plan.store or plan.processes > 1:
        from moreton.ratelimit.rls.stores.shared import SharedStore  # noqa: PLC0415 - few need it

        return SharedStore(plan.store or _own_file(plan), alone=plan.processes == 1)
    return LocalStore()


def _own_file(plan: Plan) -> Path:
    """The file that the processes of this plan share, and no others."""
    folder = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else Path(tempfile.gettempdir())
    digest = hashlib.blake2b(plan.listen.encode(), digest_size=6).hexdigest()
    return folder / f"moreton-limits-{digest}"
