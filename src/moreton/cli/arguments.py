"""Words of a command line that several commands take, or refuse in the same way."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import typer

from moreton.kernel.quantities import parse_duration


def duration(option: str, text: str) -> timedelta:
    """The duration in *text*. Raises `typer.BadParameter`."""
    try:
        return parse_duration(text)
    except ValueError as error:
        message = f"{option}: {error}"
        raise typer.BadParameter(message) from error


def header_pair(text: str) -> tuple[str, str]:
    """A header's name, in lower case, and its value. Raises `typer.BadParameter`."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{text!r} is not a header; write `name: value`")
    return name.strip().lower(), value.strip()


def check_address(option: str, text: str) -> None:
    """Raises `typer.BadParameter` unless *text* is empty or an IP address."""
    try:
        if text:
            ip_address(text)
    except ValueError as error:
        message = f"{option}: {text!r} is not an IP address; write one like 192.0.2.7"
        raise typer.BadParameter(message) from error


def write_file(option: str, path: Path, text: str) -> None:
    """Put *text* at *path*, which was given with *option*. Raises `typer.BadParameter`."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"{path} cannot be written, {reason}"
        raise typer.BadParameter(message, param_hint=option) from error


def check_is_there(url: str) -> None:
    """A database that is a file must exist: it would be made, and all would seem to be well.

    Raises `typer.BadParameter`.
    """
    path = url.removeprefix("sqlite:///")
    if path != url and not Path(path).is_file():
        raise typer.BadParameter(f"{path} is not there: give the file that the programs use")
