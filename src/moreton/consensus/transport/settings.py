"""Who a node is to the others, what it proves it with, and the bounds of talking to them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path

from moreton.consensus.transport.core.handshake import SECRET_BYTES_MIN
from moreton.consensus.transport.errors import CredentialsUnusable
from moreton.resilience import Backoff

_MIB = 1024 * 1024
_TEXT_BYTES_MAX = 255
_BACKOFF = Backoff(initial=timedelta(milliseconds=50), cap=timedelta(seconds=2))


@dataclass(frozen=True, slots=True)
class PeerTls:
    """The files of a node for mutual TLS: its certificate, its key, the cluster's authority.

    The certificate names its node by the URI `spiffe://CLUSTER/node/NUMBER`; it may leave that
    out where a secret proves who speaks.
    """

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a node of *cluster* proves itself with: a *secret* of all nodes, *tls*, or both.

    The secret alone authenticates every byte and hides none of them. Raises `CredentialsUnusable`.
    """

    cluster: str
    secret: bytes | None = field(default=None, repr=False)
    tls: PeerTls | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.secret, bytes | None):
            raise TypeError(
                f"a secret of type {type(self.secret).__name__}: nothing could be proved with it; "
                "give the secret as bytes"
            )
        size = len(self.cluster.encode())
        if not 1 <= size <= _TEXT_BYTES_MAX:
            raise CredentialsUnusable(
                f"the name of the cluster has {size} bytes: nodes could not tell it from others; "
                f"give it 1 to {_TEXT_BYTES_MAX}"
            )
        if self.secret is None and self.tls is None:
            raise CredentialsUnusable(
                "neither a cluster secret nor TLS: anybody could vote; set at least one"
            )
        if self.secret is not None and len(self.secret) < SECRET_BYTES_MIN:
            raise CredentialsUnusable(
                f"the cluster secret has {len(self.secret)} bytes: it could be guessed; give it "
                f"at least {SECRET_BYTES_MIN}, random ones"
            )

    @classmethod
    def from_secret_file(
        cls, cluster: str, path: Path, *, tls: PeerTls | None = None
    ) -> Credentials:
        """With the content of *path* as the secret, white space at its ends left out."""
        try:
            secret = path.read_bytes().strip()
        except OSError as error:
            raise CredentialsUnusable(
                f"the cluster secret cannot be read from {path} ({error.strerror}): no node would "
                "be believed; make the file, the same on every node, readable to this user alone"
            ) from error
        return cls(cluster, secret, tls)


@dataclass(frozen=True, slots=True)
class TransportSettings:
    """Bounds. All nodes should have the same."""

    # Waiting for one node. The core has 16 MiB in flight at most, and proposals it passes on.
    queue_bytes_max: int = 64 * _MIB
    queue_messages_max: int = 16_384
    # One message: the core cuts appends at 1 MiB, but a single entry may be larger.
    message_bytes_max: int = 64 * _MIB
    snapshot_bytes_max: int = 2048 * _MIB
    chunk_bytes: int = 256 * 1024
    question_bytes_max: int = 16 * _MIB
    questions_max: int = 4096  # to, and of, one node at a time
    answer_timeout: timedelta = timedelta(seconds=10)
    connect_timeout: timedelta = timedelta(seconds=1)
    # Until the other side has proved itself: a slow or hostile one holds a place no longer.
    handshake_timeout: timedelta = timedelta(seconds=3)
    greeting_max: int = 64  # connections that have not proved themselves; the oldest must go
    # A connection on which nothing is heard for four of these is given up.
    ping_interval: timedelta = timedelta(milliseconds=500)
    # A snapshot of which nothing moves for so long is given up.
    stall_timeout: timedelta = timedelta(seconds=10)
    # Who belongs to the cluster no more is cut off then; a node that starts catches up before.
    removal_delay: timedelta = timedelta(seconds=10)
    backoff: Backoff = _BACKOFF
    # Kerberos has allowed five minutes since 1993 (RFC 1510).
    clock_apart_max: timedelta = timedelta(minutes=5)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, Backoff) and value <= type(value)(0):
                raise ValueError(f"{one.name} is {value}: nothing could be sent; give more than 0")
        if self.message_bytes_max > self.queue_bytes_max:
            raise ValueError(
                f"messages of {self.message_bytes_max} bytes, and a queue of "
                f"{self.queue_bytes_max}: the largest would always be dropped; raise the queue"
            )


def split_address(address: str) -> tuple[str, int]:
    """The host and the port of `host:port` or `[::1]:port`. Raises `ValueError`."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(
            f"{address!r} is not an address of a node: nobody could be reached there; write it "
            "as host:port"
        )
    if len(address.encode()) > _TEXT_BYTES_MAX:
        raise ValueError(f"an address of {len(address)} characters: give one of 255 at most")
    return host.removeprefix("[").removesuffix("]"), int(port)
