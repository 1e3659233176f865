"""The registry's changes as a stream of bytes, from whichever control plane gives it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import quote, urlsplit

from moreton.kernel.places import Finder, Place, connect
from moreton.registry.client.wire import NOWHERE, describe

# The control plane says something every 15 s: two of these may be late before it is given up.
SILENCE_SECONDS_MAX = 40.0
_PART_BYTES = 64 * 1024
_REASON_BYTES_MAX = 4096
_REASON_CHARS_MAX = 300


class StreamUnavailable(Exception):
    """No node gave the stream, or it ended; the text says why."""


class Stream:
    """The changes of one service, read by one thread; `close` may be called from any other.

    The standard library's client, as for registrations: it runs inside other people's programs.
    """

    def __init__(self, finder: Finder, service: str) -> None:
        self._finder = finder
        self._path = f"/v1/watch?prefix=instances/{quote(service, safe='')}"
        self._answered = ""  # the URL of the node that gave the last stream
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._is_closed = False

    def open(self) -> http.client.HTTPResponse:
        """The answer of the first node that gives the stream; the one that did so last comes first.

        Raises `StreamUnavailable`.
        """
        places = sorted(self._finder.find(), key=lambda each: each.url != self._answered)
        reasons = []
        for place in places:
            try:
                response = self._ask(place)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._drop()
                reasons.append(f"{place.url} does not answer: {describe(error)}")
                continue
            if not isinstance(response, str):
                self._answered = place.url
                return response
            self._drop()
            reasons.append(f"{place.url} says: {response}")
        raise StreamUnavailable("; ".join(reasons) or NOWHERE)

    def parts(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """The bytes as they come. Ends by raising `StreamUnavailable`."""
        url = self._answered
        try:
            while part := response.read1(_PART_BYTES):
                yield part
        except TimeoutError as error:
            silence = f"it said nothing for {SILENCE_SECONDS_MAX:g}s"
            raise StreamUnavailable(f"{url} is gone: {silence}") from error
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # AttributeError: http.client, when the connection is closed under it.
            raise StreamUnavailable(f"{url} is gone: {describe(error)}") from error
        finally:
            response.close()
            self._drop()
        raise StreamUnavailable(f"{url} ended the stream")

    def close(self) -> None:
        """End the stream for good: whoever reads it is woken."""
        with self._lock:
            self._is_closed = True
            sock = self._connection.sock if self._connection is not None else None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _ask(self, place: Place) -> http.client.HTTPResponse | str:
        connection = connect(place)
        with self._lock:
            self._connection = connection
            if self._is_closed:
                raise ConnectionError("closed by this program")
        headers = {"accept": "text/event-stream", "user-agent": "moreton"}
        if place.token:
            headers["authorization"] = f"Bearer {place.token}"
        connection.request("GET", urlsplit(place.url).path + self._path, headers=headers)
        # An answer without a length takes the socket with it, out of the connection.
        sock = connection.sock
        response = connection.getresponse()
        kind = response.headers.get("content-type", "")
        if response.status == http.client.OK and kind.startswith("text/event-stream"):
            sock.settimeout(SILENCE_SECONDS_MAX)
            connection.sock = sock
            return response
        return _reason(response)

    def _drop(self) -> None:
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _reason(response: http.client.HTTPResponse) -> str:
    """What an answer that is no stream says, in a few words."""
    text = response.read(_REASON_BYTES_MAX)
    try:
        body = json.loads(text)
        said = str(body.get("detail") or body.get("title"))[:_REASON_CHARS_MAX]
    except (ValueError, AttributeError):
        said = "it is no control plane, or one of an earlier version"
    return f"{said} (status {response.status})"
