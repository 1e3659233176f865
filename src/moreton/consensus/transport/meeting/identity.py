"""This node as it shows itself in handshakes, dialing and answering."""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Callable, Mapping
from typing import Any

from moreton.consensus.core.messages import NodeId
from moreton.consensus.errors import ConsensusError
from moreton.consensus.transport.core.handshake import (
    INCARNATION_BYTES,
    NONCE_BYTES,
    Channel,
    Hello,
    Party,
    Welcome,
)
from moreton.consensus.transport.errors import ClockApart
from moreton.consensus.transport.meeting.tls import make_contexts, names_of, node_uri
from moreton.consensus.transport.settings import Credentials, TransportSettings
from moreton.kernel.time import Clock

Report = Callable[[NodeId, ConsensusError], None]


class Identity:
    """Node *node*, in this run of it. Raises `CredentialsUnusable`."""

    def __init__(
        self,
        node: NodeId,
        credentials: Credentials,
        *,
        settings: TransportSettings,
        clock: Clock,
        report: Report,
    ) -> None:
        self.party = Party(credentials.cluster, node, secrets.token_bytes(INCARNATION_BYTES))
        self.secret = credentials.secret
        self.settings = settings
        self.report = report
        self.address = ""  # where others dial this node
        self._clock = clock
        self.answering_tls: ssl.SSLContext | None = None
        self.dialing_tls: ssl.SSLContext | None = None
        if credentials.tls is not None:
            self.answering_tls, self.dialing_tls = make_contexts(credentials.tls)

    @property
    def has_tls(self) -> bool:
        """Whether TLS vouches for every byte."""
        return self.dialing_tls is not None

    def hello(self, target: NodeId, channel: Channel) -> Hello:
        """What to say to *target* first."""
        return Hello(
            self.party,
            target,
            channel,
            secrets.token_bytes(NONCE_BYTES),
            self._wall_ms(),
            self.address,
            has_secret=self.secret is not None,
        )

    def welcome(self) -> Welcome:
        """What to answer to a hello, without its proof."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        return Welcome(self.party.node, self.party.incarnation, nonce, self._wall_ms(), b"")

    def misnamed(self, node: NodeId, certificate: Mapping[str, Any] | None) -> str:
        """Whom *certificate* names if that is not *node*; empty if it does, or need not."""
        if not self.has_tls:
            return ""
        names = names_of(certificate)
        if node_uri(self.party.cluster, node) in names or (not names and self.secret is not None):
            return ""
        return ", ".join(names) or "nobody"

    def compare_clocks(self, node: NodeId, wall_ms: int) -> None:
        """Report a clock that is minutes off."""
        seconds = (wall_ms - self._wall_ms()) / 1000
        if abs(seconds) > self.settings.clock_apart_max.total_seconds():
            self.report(node, ClockApart(target=node, seconds=seconds))

    def _wall_ms(self) -> int:
        return max(0, int(self._clock.wall().timestamp() * 1000))
