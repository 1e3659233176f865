"""`moreton compare serve`: the collector that Envoys show requests to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from moreton.cli.client import DEFAULT_CONFIG, Api, Config, differences_file, state_folder

_TELL_SECONDS = 0.25
# Every so many of those: written down, and looked for what people said.
_TEND_EVERY = 8


def serve(
    *,
    listen: Annotated[
        str, typer.Option(metavar="unix:/PATH", help="Where Envoy shows requests.")
    ] = "",
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where what differs is kept.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
) -> None:
    """Compare what Envoy shows with what candidates answer, until SIGTERM or Ctrl-C.

    `moreton up` runs one by itself while moreton.yaml has a section `compare`.

    [bold]Examples[/]

      moreton compare serve
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import logging  # noqa: PLC0415 - help needs none of this

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    home = state_folder(config).absolute()
    if listen and not listen.startswith("unix:/"):
        raise typer.BadParameter(f"{listen!r} is no socket of this machine; write unix:/PATH")
    address = listen or f"unix:{_socket(home)}"
    asyncio.run(_serve(address, file or differences_file(config).absolute(), config))


def _socket(home: Path) -> Path:
    from moreton.envoy.process.folder import EnvoyFolder  # noqa: PLC0415 - as above

    return EnvoyFolder(home / "envoy").make_sockets() / "copies.sock"


async def _serve(address: str, file: Path, config: Path) -> None:
    from moreton.controlplane.comparing.telling import Teller  # noqa: PLC0415 - as above
    from moreton.envoy.showing import ShownServer  # noqa: PLC0415 - as above
    from moreton.strangler.compare.serving.collector import Collector  # noqa: PLC0415 - as above

    collector = Collector(file)
    teller = Teller(collector, lambda body: _heard(config, body))
    socket = Path(address.removeprefix("unix:"))
    socket.parent.mkdir(parents=True, exist_ok=True)
    server = ShownServer(collector.offer, collector.lose)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, ended.set)
    await asyncio.to_thread(teller.tell)
    await server.start(address)
    try:
        turn = 0
        while not ended.is_set():
            turn += 1
            await asyncio.to_thread(teller.tell)
            work = collector.tend if turn % _TEND_EVERY == 0 else collector.cut_late
            await asyncio.to_thread(work)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TELL_SECONDS):
                    await ended.wait()
    finally:
        await server.stop()
        await asyncio.to_thread(collector.close)


def _heard(config: Path, body: object) -> object:
    return Api.find(config).call("POST", "/v1/comparisons/heard", body)
