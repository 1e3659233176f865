"""A real gRPC server that answers with its label: `python grpc_echo.py LABEL PORT`."""

from __future__ import annotations

import sys
from concurrent import futures

import grpc


def main() -> None:
    label, port = sys.argv[1].encode(), sys.argv[2]

    def answer(request: bytes, _: grpc.ServicerContext) -> bytes:
        return label + b" " + request

    server = grpc.server(futures.ThreadPoolExecutor(2))
    handlers = {"Say": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
