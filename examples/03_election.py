"""Two programs want to lead; one is deposed, and what it writes late is refused."""

import asyncio
from datetime import timedelta

from moreton.election import Election, FencedOff, LeadershipLost, Term
from moreton.store import Put, Store, open_store

TTL = timedelta(milliseconds=300)


async def work(term: Term, name: str, steps: int) -> None:
    for step in range(1, steps + 1):
        await term.write([Put(b"work", f"{name} {step}".encode())])
        print(f"{name}: step {step} with token {term.token}")
        await asyncio.sleep(0.01)


async def leads_and_is_cut_off(store: Store) -> None:
    election = Election(store, "work", ttl=TTL)
    late: Term | None = None
    try:
        async with election.campaign(b"ada") as term:
            late = term
            await work(term, "ada", 2)
            await store.delete(term.key)  # an operator takes the leadership away
            await asyncio.sleep(60)
    except LeadershipLost as error:
        print("ada:", error.reason)
    assert late is not None
    try:
        await late.write([Put(b"work", b"ada, too late")])
    except FencedOff as error:
        print("ada:", error)


async def waits_and_takes_over(store: Store) -> None:
    async with Election(store, "work", ttl=TTL).campaign(b"bob") as term:
        await work(term, "bob", 2)


async def main() -> None:
    store = open_store("memory:")
    async with asyncio.TaskGroup() as programs:
        programs.create_task(leads_and_is_cut_off(store))
        programs.create_task(waits_and_takes_over(store))
    print("in the store:", (await store.range(b"work")).kvs[0].value.decode())
    await store.close()


asyncio.run(main())
