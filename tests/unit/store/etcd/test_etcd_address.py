from __future__ import annotations

from datetime import timedelta

import pytest

from moreton.store.etcd import EtcdAddress, parse_address
from moreton.store.etcd.core.address import TlsFiles
from moreton.store.etcd.core.refusals import Kind, Refusal, refusal_of
from moreton.store.etcd.errors import BadEtcdUrl


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("etcd://one", EtcdAddress(("http://one:2379",))),
        (
            "etcd://one:1,two:2/shop/",
            EtcdAddress(("http://one:1", "http://two:2"), prefix=b"/shop/"),
        ),
        ("etcd://[::1]:3/a/b", EtcdAddress(("http://[::1]:3",), prefix=b"/a/b/")),
        ("etcd://one/%C3%BC", EtcdAddress(("http://one:2379",), prefix="/ü/".encode())),
        (
            "etcd://me:p%40ss@one/?timeout=250ms",
            EtcdAddress(
                ("http://one:2379",),
                user="me",
                password="p@ss",
                timeout=timedelta(milliseconds=250),
            ),
        ),
        (
            "etcds://one?ca=ca.pem&cert=me.pem&key=me.key",
            EtcdAddress(("https://one:2379",), tls=TlsFiles("ca.pem", "me.pem", "me.key")),
        ),
    ],
)
def test_address_is_read(url: str, address: EtcdAddress) -> None:
    assert parse_address(url) == address


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("etcd:one", "it is not like"),
        ("etcd://", "a host in it"),
        ("etcd://one,", "a host in it"),
        ("etcd://one:0", "a host in it"),
        ("etcd://one:99999", "a host in it"),
        ("etcd://one?colour=red", r"\?colour= is not known"),
        ("etcd://one?timeout=", "needs one value"),
        ("etcd://one?timeout=soon", "timeout="),
        ("etcd://one?timeout=2h", "at most 1h"),
        ("etcd://one?user=me", "belong together"),
        ("etcd://one?password=secret", "belong together"),
        ("etcd://me:secret@one?user=you", "both before the host"),
        ("etcd://one?user=me&password=secret&password_file=f", "both a password and"),
        ("etcd://one?ca=ca.pem", "are for etcds"),
        ("etcds://one?cert=me.pem", "cert and key belong together"),
        ("etcd://one#part", "it is not like"),
    ],
)
def test_address_that_cannot_be_meant_is_refused_without_its_password(url: str, why: str) -> None:
    with pytest.raises(BadEtcdUrl, match=why) as refused:
        parse_address(url)
    assert "secret" not in str(refused.value)


def test_password_is_not_shown_with_an_address() -> None:
    assert "hush" not in repr(parse_address("etcd://me:hush@one"))


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": "etcdserver: request is too large", "code": 3}, Kind.TOO_LARGE),
        ({"message": "etcdserver: permission denied", "code": 7}, Kind.FORBIDDEN),
        (
            {"error": {"message": "etcdserver: no leader", "grpc_code": 14, "http_code": 503}},
            Kind.NOT_HERE,
        ),
        ({"error": {"message": "etcdserver: request timed out", "code": 14}}, Kind.UNSURE),
        ({"error": "etcdserver: something new", "code": 9}, Kind.OTHER),
    ],
)
def test_refusals_of_all_versions_mean_the_same(document: dict[str, object], kind: Kind) -> None:
    found = refusal_of(document)
    assert isinstance(found, Refusal)
    assert found.kind is kind


def test_an_answer_is_no_refusal() -> None:
    assert refusal_of({"header": {"revision": "5"}, "kvs": []}) is None
    # A key named so is inside the answer, not beside it.
    assert refusal_of({"result": {"message": "x", "code": 1}}) is None
