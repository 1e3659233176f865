"""Raft: a few machines that agree on one log, and go on while most of them live.

Use it for state that must survive machines and that all must see alike: three nodes bear the loss
of one, five that of two. Every write costs a sync on a majority of disks, so it is for what is
small and matters, not for bulk data. If keys and values are enough, take `moreton.store` on
`raft:///folder`.

`core` decides and does nothing; `disk` keeps, `transport` carries, `host` drives them:

    disk = LogDisk(folder, cluster="shop-1", node=1)  # made once by `found` or `join`
    transport = TcpTransport(1, Credentials("shop-1", secret=secret), "10.0.0.1:7400")
    host = RaftHost(1, disk=disk, transport=transport, machine=machine, addresses=addresses)
    await host.start()
    result = await host.propose(b"set x 1")  # on a majority of disks, applied here, once
    await host.read_barrier()  # the machine here is as new as any answer given before

What is acknowledged outlives the crash of any minority, at any moment, and reads are linearizable.
It bears nodes that fail or are cut off, not ones that lie.
"""
