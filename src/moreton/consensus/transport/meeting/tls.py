"""Mutual TLS between nodes: contexts, and which node a certificate names."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from moreton.consensus.core.messages import NodeId
from moreton.consensus.transport.errors import CredentialsUnusable
from moreton.consensus.transport.settings import PeerTls


def make_contexts(tls: PeerTls) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """For answering, and for dialing. Raises `CredentialsUnusable`."""
    contexts = []
    for protocol in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT):
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        # The certificate names the node, not the host: nodes move, and may share a host.
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(tls.authority)
            context.load_cert_chain(tls.certificate, tls.key, password=_no_password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            raise CredentialsUnusable(
                f"{tls.certificate}, {tls.key} and {tls.authority} do not make a certificate "
                f"({error}): no TLS with other nodes; give PEM files that belong together"
            ) from error
        contexts.append(context)
    return contexts[0], contexts[1]


def node_uri(cluster: str, node: NodeId) -> str:
    """How a certificate names *node* of *cluster*, as a SPIFFE ID does."""
    return f"spiffe://{cluster}/node/{node}"


def names_of(certificate: Mapping[str, Any] | None) -> list[str]:
    """The SPIFFE IDs in what `getpeercert` told."""
    names = (certificate or {}).get("subjectAltName", ())
    return [value for kind, value in names if kind == "URI" and value.startswith("spiffe://")]


def _no_password() -> bytes:
    # Without this OpenSSL would ask at the terminal, and the program would hang.
    raise ValueError("the key is encrypted; give one that is not, readable to this user alone")
