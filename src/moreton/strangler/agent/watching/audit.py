"""Sees what the interpreter itself is asked for: files, connections, programs, HTTP, mail.

Python tells audit hooks of them (PEP 578) from C as well, whoever calls; a hook cannot be taken out
again. It is called for every event of the process; for those that it does not look at, that is one
look into a dictionary.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from moreton.strangler.agent.core.effects import Kind, general
from moreton.strangler.agent.recording import current, is_explained
from moreton.strangler.agent.watching.blocking import note
from moreton.strangler.agent.watching.databases import note_unwatched

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Not files that anybody reads later: devices, what the kernel shows, what imports leave behind.
_NOWHERE = ("/dev/null", "/dev/tty", "/dev/std", "/dev/fd", "/proc/self/")
_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}
)
Handler = Callable[[tuple[Any, ...]], None]
_installed = False


def install() -> None:
    """Look from now on; once in a process."""
    global _installed  # noqa: PLW0603 - there is one hook in a process, and no way to take it out
    if not _installed:
        _installed = True
        sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    handler = _HANDLERS.get(event)
    if handler is not None and current() is not None and not is_explained():
        handler(args)


def _open(args: tuple[Any, ...]) -> None:
    path, mode, flags = args
    if isinstance(mode, str):
        writes = not set(mode).isdisjoint("wax+")
    else:
        writes = isinstance(flags, int) and bool(flags & _WRITING)
    if writes and not isinstance(path, int):
        _file("write", path)


def _file(verb: str, path: Any) -> None:
    try:
        text = os.fsdecode(path)
    except TypeError:  # a descriptor: whoever opened it was seen
        return
    if text.startswith(_NOWHERE) or "__pycache__" in text:
        return
    note(Kind.FILE, f"{verb} {general(text)}", text)


def _of_files(verb: str) -> Handler:
    return lambda args: _file(verb, args[0])


def _connect(args: tuple[Any, ...]) -> None:
    note(Kind.NETWORK, f"connect {_address(args[1])}")


def _send_to(args: tuple[Any, ...]) -> None:
    note(Kind.NETWORK, f"send to {_address(args[1])}")


def _address(address: Any) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        return f"{address[0]}:{address[1]}"
    return os.fsdecode(address) if isinstance(address, str | bytes) else str(address)


def _http(args: tuple[Any, ...]) -> None:
    """The first of a request's bytes say what it is; a body that follows says nothing new."""
    connection, data = args[:2]
    head = bytes(data[:2000]) if isinstance(data, bytes | bytearray) else b""
    method, _, rest = head.partition(b" ")
    verb = method.decode("ascii", "replace")
    if verb in _METHODS:
        target = rest.partition(b" ")[0].decode("ascii", "replace").partition("?")[0]
        note(Kind.HTTP, f"{verb} {connection.host}", f"{verb} {connection.host}{target}")


def _mail(args: tuple[Any, ...]) -> None:
    note(Kind.MAIL, f"connect {args[1]}:{args[2]}")


def _program(args: tuple[Any, ...]) -> None:
    name = args[0] if isinstance(args[0], str | bytes) else (args[1] or ["?"])[0]
    note(Kind.PROCESS, f"run {os.path.basename(os.fsdecode(name))}")  # noqa: PTH119 - any text


def _fork(_: tuple[Any, ...]) -> None:
    note(Kind.PROCESS, "fork")


_HANDLERS: dict[str, Handler] = {
    "open": _open,
    "os.remove": _of_files("remove"),
    "os.rename": _of_files("rename"),
    "os.mkdir": _of_files("make"),
    "os.rmdir": _of_files("remove"),
    "os.truncate": _of_files("truncate"),
    "os.chmod": _of_files("change"),
    "os.chown": _of_files("change"),
    "os.link": _of_files("link"),
    "os.symlink": _of_files("link"),
    "os.utime": _of_files("touch"),
    "shutil.copyfile": lambda args: _file("write", args[1]),
    "shutil.move": lambda args: _file("write", args[1]),
    "shutil.rmtree": _of_files("remove"),
    "socket.connect": _connect,
    "socket.sendto": _send_to,
    "http.client.send": _http,
    "smtplib.connect": _mail,
    "sqlite3.connect": lambda args: note_unwatched(args[0]),
    "ftplib.connect": lambda args: note(Kind.NETWORK, f"connect {args[1]}:{args[2]}"),
    "subprocess.Popen": _program,
    "os.system": lambda args: note(Kind.PROCESS, "run a shell", str(args[0])[:100]),
    "os.posix_spawn": _program,
    "os.exec": _program,
    "os.fork": _fork,
    "os.forkpty": _fork,
}
