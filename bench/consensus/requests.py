"""What clients ask: a put of 128 bytes to one of a thousand keys, or a linearizable read of one."""

from __future__ import annotations

import base64
import json

KEYS = 1000
_VALUE = base64.b64encode(b"v" * 128).decode()
_HEAD = "POST /v3/kv/{} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"


def request(operation: str, number: int) -> bytes:
    """One request, of the key with *number*."""
    document = {"key": base64.b64encode(b"key-%06d" % (number % KEYS)).decode()}
    if operation == "put":
        document["value"] = _VALUE
    body = json.dumps(document)
    head = _HEAD.format("put" if operation == "put" else "range")
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
