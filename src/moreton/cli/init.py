"""`moreton init`: a first moreton.yaml for the application as it is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from moreton.cli.client import DEFAULT_CONFIG
from moreton.cli.output import AsJson, print_json, print_line
from moreton.kernel.errors import MoretonError

_LISTEN = "127.0.0.1:8080"
_TEMPLATE = """\
# moreton.yaml: what Moreton does. `moreton check` checks it, `moreton up` runs it.
version: 1

gateways:
  public: # the front door: point your users, or your load balancer, here
    listeners:
      - address: {listen}

services:
  monolith: # your application as it is
    addresses: [{address}]
  # catalogue: # a new service, found by its registration:
  #   discover: true # moreton run --service catalogue --port 8001 -- python service.py

routes:
  everything: # whatever no other route takes goes to your application
    path: /*
    to: monolith
  # products: # the first route to move: moreton weights products monolith=95 catalogue=5
  #   path: /products/*
  #   to: {{monolith: 100, catalogue: 0}}
"""


class FileExists(MoretonError):
    """`moreton init` would overwrite a file."""

    code = "file-exists"


def init(
    monolith: Annotated[
        str, typer.Option("--monolith", metavar="URL|PORT", help="Where your application answers.")
    ],
    *,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where the gateway will listen.")
    ] = _LISTEN,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write.")
    ] = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """Write a first, commented moreton.yaml: one gateway, one service, one route for everything.

    [bold]Examples[/]

      moreton init --monolith 8000

      moreton init --monolith http://10.0.0.7:8000 --listen 0.0.0.0:80
    """
    address = _address(monolith)
    text = _TEMPLATE.format(listen=_address(listen), address=address)
    try:
        with output.open("x") as file:
            file.write(text)
    except FileExistsError as error:
        raise FileExists(
            f"{output} is there already and is not overwritten; edit it, or name another file "
            "with --output"
        ) from error
    except OSError as error:
        raise typer.BadParameter(f"{output} cannot be written: {error.strerror}") from error
    if as_json:
        print_json({"written": str(output), "monolith": address, "listen": listen})
    else:
        print_line(f"written to {output}; now run `moreton up` and open http://{listen}")


def _address(text: str) -> str:
    """`host:port` from a URL, an address, or a port of this machine."""
    if text.isdigit():
        text = f"127.0.0.1:{text}"
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme == "https":
        raise typer.BadParameter(f"{text!r}: TLS to a service is not offered; name its HTTP port")
    if not host or not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        raise typer.BadParameter(f"{text!r} is not an address; write 8000 or http://10.0.0.7:8000")
    shown = f"[{host}]" if ":" in host else host
    return f'"{shown}:{port or 80}"' if ":" in host else f"{shown}:{port or 80}"
