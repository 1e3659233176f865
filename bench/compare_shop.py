"""An application in Python: `python -m bench.compare_shop PORT`.

Every answer is 10 KB of JSON, for which it works some milliseconds, as a page of a framework does.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_ITEMS = 100
_WORK = 24


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 64 * 1024

    def do_GET(self) -> None:
        """Any path."""
        for _ in range(_WORK):
            body = page()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def page() -> bytes:
    """What it answers."""
    items: list[dict[str, Any]] = [
        {"id": number, "name": f"Product number {number}", "price": f"{number}.99", "stock": 3}
        for number in range(_ITEMS)
    ]
    return json.dumps({"items": items, "more": "x" * 2000}).encode()


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), _Handler).serve_forever()
