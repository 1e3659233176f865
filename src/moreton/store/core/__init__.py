"""The store's pure heart: keys and revisions, transactions, leases. No I/O and no clock.

`state.State` holds everything that is replicated or written to disk; `lease.LeaseMachine` holds
the times of leases, which are not. Recovery is a fold of the durable log into a new `State`.
"""
