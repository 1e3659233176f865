"""What every store must do: one suite of checks for all backends, present and future.

They look only at what a user of the store can see, and hold for etcd itself. Run each of
`STORE_CHECKS` on a fresh store, and each of `RESTART_CHECKS` on a backend that outlives its
process:

    @pytest.mark.parametrize("check", STORE_CHECKS, ids=lambda check: check.__name__)
    async def test_store_conforms_to_etcd(check, open_my_store):
        await check(StoreUnderTest(await open_my_store(), ttl=timedelta(seconds=2)))
"""

from moreton.sim.store import compaction, leases, ranges, restarts, transactions, watches
from moreton.sim.store.subject import (
    RestartCheck,
    RestartedStoreUnderTest,
    StoreCheck,
    StoreUnderTest,
)

STORE_CHECKS: tuple[StoreCheck, ...] = (
    *ranges.CHECKS,
    *transactions.CHECKS,
    *leases.CHECKS,
    *watches.CHECKS,
    *compaction.CHECKS,
)
RESTART_CHECKS: tuple[RestartCheck, ...] = restarts.CHECKS

__all__ = [
    "RESTART_CHECKS",
    "STORE_CHECKS",
    "RestartCheck",
    "RestartedStoreUnderTest",
    "StoreCheck",
    "StoreUnderTest",
]
