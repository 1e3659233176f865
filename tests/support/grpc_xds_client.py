"""An ordinary gRPC client that asks `xds:///NAME` for every line on its standard input."""

from __future__ import annotations

import sys

import grpc


def main() -> None:
    with grpc.insecure_channel(f"xds:///{sys.argv[1]}") as channel:
        say = channel.unary_unary("/Echo/Say")
        for line in sys.stdin:
            try:
                answer = say(line.strip().encode(), timeout=10, wait_for_ready=True).decode()
            except grpc.RpcError as error:
                answer = f"failed: {error}"
            print(answer.replace("\n", " "), flush=True)


if __name__ == "__main__":
    main()
