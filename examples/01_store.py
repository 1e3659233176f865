"""A key that only one writer can create, and a watcher who is told."""

import asyncio

from moreton.store import Compare, Put, open_store


async def main() -> None:
    """Two programs want to be first; a third one watches."""
    store = open_store("memory:")
    async with store.watch(b"leader", from_revision=1) as changes:
        for name in (b"ada", b"bob"):
            nobody = [Compare.version(b"leader", "=", 0)]
            won = await store.txn(nobody, [Put(b"leader", name)])
            print(f"{name.decode()} {'leads' if won.succeeded else 'comes too late'}")
        async for batch in changes:
            print(f"revision {batch.revision}: {batch.events[0].kv.value.decode()} leads")
            break
    await store.close()


asyncio.run(main())
