"""An etcd that fails, comes back, changes or refuses: what the store does about each."""

from __future__ import annotations

import asyncio
import base64
import http.server
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from moreton.sim.store.subject import changes, next_batch
from moreton.store import Store, open_store
from moreton.store.errors import Compacted
from moreton.store.etcd.errors import (
    EtcdAnswerLost,
    EtcdForbidden,
    EtcdLoginRefused,
    EtcdUnreachable,
    EtcdWentBack,
    NotAnEtcd,
    OtherEtcd,
)
from support.etcd_server import EtcdServer, running_cluster, running_etcd
from support.ports import free_port


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EtcdServer]:
    """An etcd that the test may kill."""
    with running_etcd(tmp_path) as server:
        yield server


def url_of(members: list[EtcdServer], prefix: str = "", **options: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"etcd://{','.join(one.address for one in members)}/{prefix}?{query}"


# --- reconnects -------------------------------------------------------------------------------


async def test_requests_wait_for_an_etcd_that_is_restarted(own: EtcdServer) -> None:
    async with opened(own.url("a")) as store:
        await store.put(b"a", b"1")
        own.kill()
        # Nobody listens: a write that could not be sent is sent again, too.
        requests = asyncio.gather(store.put(b"a", b"2"), store.range(b"a"))
        await asyncio.sleep(0.2)
        assert not requests.done()
        await asyncio.to_thread(own.start)
        await requests
        assert [kv.value for kv in (await store.range(b"a")).kvs] == [b"2"]


async def test_etcd_that_is_gone_is_named_and_nothing_was_written(own: EtcdServer) -> None:
    own.kill()
    async with opened(own.url("a", timeout="300ms")) as store:
        for request in (store.put(b"a", b"1"), store.range(b"a"), store.grant(timedelta(1))):
            with pytest.raises(EtcdUnreachable, match=own.address):
                await request


async def test_write_that_is_not_answered_is_not_repeated(own: EtcdServer) -> None:
    async with opened(own.url("a", timeout="700ms")) as store:
        revision = await store.put(b"a", b"1")
        own.pause()
        with pytest.raises(EtcdAnswerLost, match="was not repeated"):
            await store.put(b"a", b"2")
        with pytest.raises(EtcdUnreachable):
            await store.range(b"a")
        own.go_on()
        async with opened(own.url("a")) as other:
            found = await other.range(b"a")
        # It may have happened, but once at most.
        assert found.revision in {revision, revision + 1}


async def test_watch_goes_on_after_a_restart_without_loss_or_repeat(own: EtcdServer) -> None:
    async with opened(own.url("a")) as store, opened(own.url("a")) as writer:
        async with store.watch(b"a") as watch:
            for turn in range(4):
                await writer.put(b"a", b"%d" % (2 * turn))
                if turn % 2:
                    own.kill()
                    await asyncio.to_thread(own.start)
                await writer.put(b"a", b"%d" % (2 * turn + 1))
            seen = [(await next_batch(watch)).events[0].kv.value for _ in range(8)]
        assert seen == [b"%d" % number for number in range(8)]


async def test_leases_live_on_after_a_restart(own: EtcdServer) -> None:
    async with opened(own.url("a")) as store:
        lease = await store.grant(timedelta(seconds=5))
        await store.put(b"a", b"1", lease=lease)
        await asyncio.to_thread(own.restart)
        assert await store.keep_alive(lease) >= timedelta(seconds=5)
        assert (await store.range(b"a")).count == 1


# --- compaction -------------------------------------------------------------------------------


async def test_client_that_saw_no_compaction_is_told_where_history_begins(etcd: EtcdServer) -> None:
    async with opened(etcd.url("told")) as store:
        first = await store.put(b"a", b"1")
        for number in range(5):
            last = await store.put(b"a", b"%d" % number)
        await store.compact(last)
    async with opened(etcd.url("told")) as other:
        with pytest.raises(Compacted) as refused:
            await other.range(b"a", revision=first)
        assert (refused.value.revision, refused.value.compact_revision) == (first, last)
        with pytest.raises(Compacted) as refused:
            async with other.watch(b"a", from_revision=first) as watch:
                await next_batch(watch)
        assert refused.value.compact_revision == last


async def test_watch_whose_place_was_compacted_while_it_was_cut_off_is_told(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as members:
        async with opened(members[0].url("a")) as store, opened(url_of(members[1:], "a")) as writer:
            async with store.watch(b"a") as watch:
                await writer.put(b"a", b"seen")
                assert (await next_batch(watch)).events[0].kv.value == b"seen"
                members[0].kill()
                for number in range(10):  # it may have been the leader
                    await put_once(writer, b"a", b"%d" % number)
                last = (await writer.range(b"a")).kvs[0].mod_revision
                await writer.compact(last)
                await asyncio.to_thread(members[0].start)
                with pytest.raises(Compacted) as refused:
                    await next_batch(watch)
            assert refused.value.compact_revision == last
            async with store.watch(b"a", from_revision=refused.value.compact_revision) as watch:
                assert changes(await next_batch(watch)) == [("put", b"a", b"9")]


# --- members ----------------------------------------------------------------------------------


async def test_store_goes_on_when_the_member_it_uses_is_killed(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as members:
        async with opened(url_of(members, "a")) as store:
            lease = await store.grant(timedelta(seconds=20))
            await store.put(b"n", b"0", lease=lease)
            async with store.watch(b"n") as watch:
                for number, killed in enumerate((None, 0, None, 1), start=1):
                    if killed is not None:
                        members[killed].kill()
                    await put_once(store, b"n", b"%d" % number)
                    assert await store.keep_alive(lease) >= timedelta(seconds=20)
                    assert (await store.range(b"n")).kvs[0].value == b"%d" % number
                    if killed is not None:
                        await asyncio.to_thread(members[killed].start)
                seen = [(await next_batch(watch)).events[0].kv.value for _ in range(4)]
        assert seen == [b"1", b"2", b"3", b"4"]


async def put_once(store: Store, key: bytes, value: bytes) -> None:
    """As a careful user does: whether it happened is looked up when the answer was lost."""
    while True:
        try:
            await store.put(key, value)
        except EtcdAnswerLost:
            found = (await store.range(key)).kvs
            if found and found[0].value == value:
                return
        else:
            return


async def test_member_without_a_majority_is_left_for_one_with_it(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as members:
        async with opened(url_of(members, "a")) as store:
            await store.put(b"a", b"1")
            members[1].kill()
            members[2].kill()
            with pytest.raises((EtcdUnreachable, EtcdAnswerLost)):
                async with opened(url_of(members, "a", timeout="1s")) as hasty:
                    await hasty.put(b"a", b"2")
            await asyncio.to_thread(members[1].spawn)
            await put_once(store, b"a", b"3")


async def test_endpoints_of_two_clusters_are_refused(tmp_path: Path) -> None:
    with running_etcd(tmp_path / "one") as one, running_etcd(tmp_path / "two") as two:
        async with opened(url_of([one, two], "a")) as store:
            await store.put(b"a", b"1")
            one.kill()
            with pytest.raises(OtherEtcd, match="belongs to the etcd cluster"):
                await store.put(b"a", b"2")
        async with opened(two.url("a")) as other:
            assert (await other.range(b"a")).count == 0


async def test_etcd_that_was_made_anew_is_refused(own: EtcdServer) -> None:
    async with opened(own.url("a")) as store:
        for number in range(5):
            await store.put(b"a", b"%d" % number)
        own.kill()
        shutil.rmtree(own.folder / "data")
        await asyncio.to_thread(own.start)
        with pytest.raises(EtcdWentBack, match="was restored or emptied"):
            await store.range(b"a")


# --- something else ---------------------------------------------------------------------------


class Page(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"<html>It works!</html>")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        del format, args


async def test_server_that_is_no_etcd_is_named(etcd: EtcdServer) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        async with opened(f"etcd://127.0.0.1:{port}/a") as store:
            with pytest.raises(NotAnEtcd, match="It works"):
                await store.put(b"a", b"1")
        server.shutdown()
    # A peer's port is the usual slip.
    async with opened(f"etcd://127.0.0.1:{etcd.peer_port}/a?timeout=1s") as store:
        with pytest.raises(NotAnEtcd, match="clients use 2379, peers 2380"):
            await store.range(b"a")


# --- authentication ---------------------------------------------------------------------------


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[EtcdServer]:
    """Knows root, and the user shop, who may use the prefix /shop/."""
    with running_etcd(tmp_path) as server:
        for user in ("root", "shop"):
            server.call("auth/user/add", name=user, password=f"{user}-word")
        for role in ("root", "shopkeeper"):
            server.call("auth/role/add", name=role)
        permission = {"permType": "READWRITE", "key": b64("/shop/"), "range_end": b64("/shop0")}
        server.call("auth/role/grant", name="shopkeeper", perm=permission)
        server.call("auth/user/grant", user="root", role="root")
        server.call("auth/user/grant", user="shop", role="shopkeeper")
        server.call("auth/enable")
        yield server


async def test_user_may_do_everything_under_its_prefix(guarded: EtcdServer) -> None:
    async with opened(guarded.url("shop", user="shop", password="shop-word")) as store:
        lease = await store.grant(timedelta(seconds=20))
        async with store.watch(b"a") as watch:
            await store.put(b"a", b"1", lease=lease)
            assert changes(await next_batch(watch)) == [("put", b"a", b"1")]
        assert await store.keep_alive(lease) >= timedelta(seconds=20)
        assert await store.delete(b"a") == 1
        await store.revoke(lease)


async def test_user_outside_its_prefix_is_refused(guarded: EtcdServer) -> None:
    async with opened(guarded.url("other", user="shop", password="shop-word")) as store:
        for request in (store.put(b"a", b"1"), store.range(b"a"), store.delete(b"a")):
            with pytest.raises(EtcdForbidden, match="the user 'shop'"):
                await request
        with pytest.raises(EtcdForbidden):
            async with store.watch(b"a") as watch:
                await next_batch(watch)


async def test_wrong_password_and_no_user_are_refused_without_being_repeated_for_long(
    guarded: EtcdServer,
) -> None:
    async with opened(guarded.url("shop", user="shop", password="guess")) as store:
        with pytest.raises(EtcdLoginRefused, match="the user 'shop'") as refused:
            await store.put(b"a", b"1")
        assert "guess" not in str(refused.value)
    async with opened(guarded.url("shop")) as store:
        with pytest.raises(EtcdLoginRefused, match="a client without a user"):
            await store.range(b"a")


async def test_login_is_renewed_when_the_etcd_has_forgotten_it(guarded: EtcdServer) -> None:
    async with opened(guarded.url("shop", user="shop", password="shop-word")) as store:
        await store.put(b"a", b"1")
        async with store.watch(b"a") as watch:
            # Its tokens are in its memory.
            guarded.kill()
            await asyncio.to_thread(guarded.spawn)
            await put_once(store, b"a", b"2")
            assert (await next_batch(watch)).events[0].kv.value == b"2"


async def test_password_file_is_read_again_at_each_login(
    guarded: EtcdServer, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("shop-word\n")
    url = guarded.url("shop", user="shop", password_file=str(file))
    async with opened(url) as store:
        await store.put(b"a", b"1")
    file.write_text("old-word\n")
    async with opened(url) as store:
        with pytest.raises(EtcdLoginRefused):
            await store.put(b"a", b"2")
        file.write_text("shop-word\n")
        await store.put(b"a", b"3")
    file.unlink()
    async with opened(url) as store:
        with pytest.raises(EtcdLoginRefused, match="password file cannot be read"):
            await store.put(b"a", b"4")


async def test_login_to_an_etcd_without_authentication_is_not_needed(etcd: EtcdServer) -> None:
    async with opened(etcd.url("a", user="shop", password="word")) as store:
        await store.put(b"a", b"1")


async def test_nobody_at_any_of_several_endpoints_is_told_with_all_of_them() -> None:
    first, second = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    async with opened(f"etcd://{first},{second}/a?timeout=300ms") as store:
        with pytest.raises(EtcdUnreachable, match=f"{first}, http://{second}"):
            await store.range(b"a")
