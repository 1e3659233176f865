"""An adapter for requests that finds services.

adapter = DiscoveryAdapter(discovery)
session.mount("http://", adapter)
session.get("http://orders.moreton/orders/7")
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from requests import ConnectionError as RequestsConnectionError
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from moreton.kernel.arguments import check_kind
from moreton.registry.core.instance import Instance
from moreton.registry.discovery.choices import Choice, one_request
from moreton.registry.discovery.client import Discovery
from moreton.registry.discovery.clients.targets import careful, is_small, service_of
from moreton.registry.discovery.core.members import Outcome
from moreton.registry.discovery.errors import NoInstance, ServiceUnknown
from moreton.resilience.clients.answers import FAILURES, RETRY_ON
from moreton.resilience.clients.exchange import Policies
from moreton.resilience.clients.foreign import as_foreign
from moreton.resilience.clients.requests import ResilientAdapter

__all__ = ["DiscoveryAdapter"]

POOLS_MAX = 200


class _Directed(PreparedRequest):
    """A request to an instance, which knows the host that it is for."""

    tls_name: str = ""


class _Instances(HTTPAdapter):
    """Beneath a policy: sends each attempt to an instance; what is no service goes on as it is."""

    discovery: Discovery

    def send(  # noqa: PLR0917 - the signature of requests
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - as above
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002 - as above
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send *request*."""
        service = service_of(urlsplit(request.url or "").hostname)
        if service is None:
            return super().send(request, stream, timeout, verify, cert, proxies)
        try:
            choice = self.discovery.choose(service)
        except (NoInstance, ServiceUnknown) as error:
            raise as_foreign(
                error, RequestsConnectionError, request=request, response=None
            ) from error
        try:
            directed = _directed(request, choice.instance)
            # A proxy could not know the instance, nor may it be asked for it.
            answer = super().send(directed, stream, timeout, verify, cert, {})
            if not stream and is_small(answer.headers):
                _ = answer.content  # read now, and kept
        except BaseException as error:
            choice.failed(error)
            raise
        answer.request = request
        answer.url = request.url or ""
        _end_with(answer, choice)
        return answer

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """As requests has it; with the service's name for TLS."""
        found: Any = super().build_connection_pool_key_attributes(request, verify, cert)
        if isinstance(request, _Directed) and request.tls_name:
            found[1].update(server_hostname=request.tls_name, assert_hostname=request.tls_name)
        return found


class DiscoveryAdapter(ResilientAdapter, _Instances):
    """`http://orders.moreton/` goes to an instance of orders; every other URL where it says.

    Each request is made under the policy of its destination, which is the service and not the
    instance: *policies* as for `ResilientAdapter`, by default some attempts within a budget. Each
    attempt goes to an instance that the request was not sent to yet, if there is one. The instance
    is sent `Host: orders.moreton`, and over https it has to show a certificate for that name.
    *settings* are those of `HTTPAdapter`. A service without an instance is a `ConnectionError` of
    requests, too.
    """

    def __init__(
        self,
        discovery: Discovery,
        policies: Policies | None = None,
        *,
        idempotent: bool = False,
        retry_on: Iterable[int] = RETRY_ON,
        failures: Iterable[int] = FAILURES,
        **settings: Any,
    ) -> None:
        check_kind("discovery", discovery, Discovery)
        self.discovery = discovery
        # Each instance has a pool of its own: with the usual 10, more would drive each other out.
        settings.setdefault("pool_connections", POOLS_MAX)
        super().__init__(
            policies or careful(discovery),
            idempotent=idempotent,
            retry_on=retry_on,
            failures=failures,
            **settings,
        )

    def send(  # noqa: PLR0917 - the signature of requests
        self,
        request: PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - as above
        timeout: Any = None,
        verify: Any = True,  # noqa: FBT002 - as above
        cert: Any = None,
        proxies: Any = None,
    ) -> Response:
        """Send *request*; raises what requests raises, and `Refused` of a layer."""
        with one_request():
            return super().send(request, stream, timeout, verify, cert, proxies)


def _directed(request: PreparedRequest, instance: Instance) -> PreparedRequest:
    """*request* for *instance*; the service's name stays in `Host` and in TLS."""
    url = urlsplit(request.url or "")
    directed = _Directed()
    vars(directed).update(vars(request.copy()))
    directed.url = url._replace(netloc=instance.endpoint).geturl()
    directed.headers.setdefault("Host", url.netloc.rpartition("@")[2])
    directed.tls_name = (url.hostname or "") if url.scheme == "https" else ""
    return directed


def _end_with(answer: Response, choice: Choice) -> None:
    """End *choice* when the body of *answer* was read, or is not wanted any more."""
    raw: Any = answer.raw
    release = getattr(raw, "release_conn", None)
    if release is None:
        choice.ended(Outcome.ANSWERED)
        return

    def released() -> None:
        choice.ended(Outcome.ANSWERED)
        release()

    raw.release_conn = released
