"""`python -m bench.gatewaylimits.waited PORT`: answers for how long a request was to wait."""

from __future__ import annotations

import asyncio
import re
import sys

_WAIT = re.compile(rb"x-envoy-fault-delay-request: (\d+)", re.IGNORECASE)


class _Told(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._read = b""

    def data_received(self, data: bytes) -> None:
        self._read += data
        while b"\r\n\r\n" in self._read:
            head, _, self._read = self._read.partition(b"\r\n\r\n")
            found = _WAIT.search(head)
            body = found[1] if found is not None else b"0"
            answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            assert isinstance(self._transport, asyncio.WriteTransport)
            self._transport.write(answer)


async def main(port: int) -> None:
    """Serve until ended."""
    server = await asyncio.get_running_loop().create_server(_Told, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
