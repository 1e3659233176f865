"""The registry's HTTP API, as instances use it: a few requests, three kinds of answer."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from moreton.kernel.places import REQUEST_SECONDS_MAX, Finder, Place, connect
from moreton.kernel.quantities import format_duration, parse_duration
from moreton.registry.core.documents import registration_document
from moreton.registry.core.heartbeat import (
    Confirmed,
    Deregistered,
    HeartbeatEvent,
    LeaseLost,
    Refused,
    Unanswered,
)
from moreton.registry.core.instance import Instance, InstanceId

_ANSWER_BYTES_MAX = 64 * 1024
_REASON_CHARS_MAX = 500
# As many as one answer holds with room to spare.
_TOGETHER_MAX = 250
_SaidT = TypeVar("_SaidT")
NOWHERE = (
    "no control plane was found: start `moreton up` in this folder or one above, "
    "or set MORETON_API and MORETON_TOKEN"
)


@dataclass(frozen=True, slots=True)
class Offer:
    """What to register; without *known_address* the address of the connection is registered."""

    instance: Instance
    known_address: bool
    ttl: timedelta

    @property
    def instance_id(self) -> InstanceId:
        """The instance's id."""
        return self.instance.id


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request: with an *offer*, that is its body."""

    method: str
    path: str
    body: bytes | None = None
    offer: Offer | None = None
    seconds: float = REQUEST_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node answered: a status, and the document; an empty one when it was none."""

    status: int
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Each:
    """What was said of each of many."""

    events: Mapping[str, HeartbeatEvent]


class Api:
    """Speaks to the control plane over one connection; from one thread at a time.

    The standard library's client, because it runs inside other people's programs: nothing to
    install, no event loop of its own, no proxies of the environment.
    """

    def __init__(self, finder: Finder) -> None:
        self._finder = finder
        self._place: Place | None = None
        self._answered = ""  # the URL of the node that answered last
        self._connection: http.client.HTTPConnection | None = None
        self._was_sent = False

    def another(self) -> Api:
        """One of the same control plane, for another thread."""
        return Api(self._finder)

    def call(
        self, method: str, path: str, document: object = None, *, seconds: float
    ) -> Answer | Unanswered:
        """Any call that may be repeated; a node that cannot answer it is left for the next.

        *seconds* is how long an answer may take.
        """
        body = None if document is None else json.dumps(document).encode()
        said: Answer | Unanswered = self._ask(
            _Asked(method, path, body=body, seconds=seconds), _whatever
        )
        return said

    def register(self, offer: Offer) -> HeartbeatEvent:
        """POST the instance."""
        path = f"/v1/services/{quote(offer.instance.service, safe='')}/instances"
        return self._ask(_Asked("POST", path, offer=offer), _registered)

    def renew(self, offer: Offer) -> HeartbeatEvent:
        """PUT its lease."""
        return self._ask(_Asked("PUT", f"{path_of(offer)}/lease"), _renewed)

    def renew_many(self, offers: Sequence[Offer]) -> list[HeartbeatEvent]:
        """Renew all of *offers*, with one request for some hundreds of them; an event for each."""
        events: list[HeartbeatEvent] = []
        for first in range(0, len(offers), _TOGETHER_MAX):
            events += self._renew_together(offers[first : first + _TOGETHER_MAX])
        return events

    def deregister(self, offer: Offer) -> HeartbeatEvent:
        """DELETE it."""
        return self._ask(_Asked("DELETE", f"{path_of(offer)}?by=itself"), _deregistered)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _renew_together(self, offers: Sequence[Offer]) -> list[HeartbeatEvent]:
        names = [f"{each.instance.service}/{each.instance_id}" for each in offers]
        body = json.dumps({"instances": names}).encode()
        asked = _Asked("POST", "/v1/leases/renew", body=body)
        said: _Each | Refused | Unanswered = self._ask(asked, _renewed_together)
        if not isinstance(said, _Each):
            return [said] * len(offers)
        # What nothing was said of is asked for by itself: an older control plane knows that alone.
        found = [said.events.get(name) for name in names]
        return [
            self.renew(offer) if event is None else event
            for offer, event in zip(offers, found, strict=True)
        ]

    def _ask(
        self, asked: _Asked, read: Callable[[Answer, str], _SaidT | Unanswered]
    ) -> _SaidT | Unanswered:
        """The answer of the first node that gives one; the one that did so last comes first."""
        places = sorted(self._finder.find(), key=lambda each: each.url != self._answered)
        last = Unanswered(NOWHERE, sent=False)
        sent = False
        for place in places:
            said = self._ask_one(place, asked, read)
            if not isinstance(said, Unanswered):
                self._answered = place.url
                return said
            last, sent = said, sent or said.sent
        return replace(last, sent=sent)

    def _ask_one(
        self, place: Place, asked: _Asked, read: Callable[[Answer, str], _SaidT | Unanswered]
    ) -> _SaidT | Unanswered:
        self._was_sent = False
        try:
            answer = self._request(place, asked)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            reason = f"{place.url} does not answer: {describe(error, asked.seconds)}"
            return Unanswered(reason, sent=self._was_sent)
        return read(answer, place.url)

    def _request(self, place: Place, asked: _Asked) -> Answer:
        if place != self._place:
            self.close()
            self._place = place
        kept = self._connection is not None
        try:
            return self._once(place, asked)
        except (http.client.HTTPException, ConnectionError):
            self.close()
            if not kept:
                raise
        # The server closed the idle connection; each of the requests may be repeated.
        return self._once(place, asked)

    def _once(self, place: Place, asked: _Asked) -> Answer:
        connection = self._connection or connect(place)
        self._connection = connection
        connection.sock.settimeout(asked.seconds)
        headers = {"accept": "application/json", "user-agent": "moreton"}
        if place.token:
            headers["authorization"] = f"Bearer {place.token}"
        body = asked.body
        if asked.offer is not None:
            body = _document(asked.offer, connection.sock.getsockname()[0])
        if body is not None:
            headers["content-type"] = "application/json"
        self._was_sent = True
        path = urlsplit(place.url).path + asked.path
        connection.request(asked.method, path, body=body, headers=headers)
        response = connection.getresponse()
        text = response.read(_ANSWER_BYTES_MAX)
        if response.read(1):
            connection.close()  # whoever says so much is no control plane
        if connection.sock is None:  # or the server said that it is the last answer
            self._connection = None
        return Answer(response.status, _parsed(text))


def _document(offer: Offer, own_address: str) -> bytes:
    address = offer.instance.address if offer.known_address else own_address
    document = registration_document(replace(offer.instance, address=address))
    del document["service"]
    return json.dumps({**document, "ttl": format_duration(offer.ttl)}).encode()


def path_of(offer: Offer) -> str:
    """Where the API has the instance."""
    service, instance_id = offer.instance.service, offer.instance.id
    return f"/v1/services/{quote(service, safe='')}/instances/{quote(instance_id, safe='')}"


def _whatever(answer: Answer, url: str) -> Answer | Unanswered:
    found = _trouble(answer, url)
    return found if isinstance(found, Unanswered) else answer


def _registered(answer: Answer, url: str) -> HeartbeatEvent:
    if answer.status not in {http.client.OK, http.client.CREATED}:
        return _trouble(answer, url)
    try:
        revision = int(answer.document.get("revision", 0))
        return Confirmed(parse_duration(answer.document["ttl"]), revision)
    except (KeyError, TypeError, ValueError, AttributeError):
        return Unanswered(f"{url} answered with something that is not a registration")


def _renewed(answer: Answer, url: str) -> HeartbeatEvent:
    return LeaseLost() if answer.status == http.client.NOT_FOUND else _registered(answer, url)


def _renewed_together(answer: Answer, url: str) -> _Each | Unanswered | Refused:
    """What became of each; of none when the control plane does not know the question."""
    if answer.status in {http.client.NOT_FOUND, http.client.METHOD_NOT_ALLOWED}:
        return _Each({})
    if answer.status != http.client.OK:
        return _trouble(answer, url)
    try:
        return _Each(
            {
                name: LeaseLost() if ttl is None else Confirmed(parse_duration(ttl))
                for name, ttl in answer.document["ttls"].items()
            }
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return Unanswered(f"{url} answered with something that are no renewals")


def _deregistered(answer: Answer, url: str) -> HeartbeatEvent:
    if answer.status < 300 or answer.status == http.client.NOT_FOUND:
        return Deregistered()
    return _trouble(answer, url)


def _trouble(answer: Answer, url: str) -> Unanswered | Refused:
    body = answer.document
    reason = str(body.get("detail") or body.get("title") or f"status {answer.status}")
    said = f"{url} says: {reason[:_REASON_CHARS_MAX]}"
    if answer.status >= 500 or answer.status == http.client.TOO_MANY_REQUESTS:
        return Unanswered(said)
    return Refused(said, later=body.get("retry") in {"now", "after"})


def _parsed(text: bytes) -> Mapping[str, Any]:
    """The document; an empty one of what is none."""
    with contextlib.suppress(ValueError):
        found = json.loads(text)
        if isinstance(found, dict):
            return found
    return {}


def describe(error: Exception, seconds: float = REQUEST_SECONDS_MAX) -> str:
    """Why there was no answer, in a few words."""
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g}s"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
