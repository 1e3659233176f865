"""Takes bodies out of the compressions that `Content-Encoding` names."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Mapping

import brotli

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# A small body may say that it is a large one (a "zip bomb"): no more is unpacked than this.
UNPACKED_BYTES_MAX = 8 * 1024 * 1024
# RFC 9110, section 8.4 allows several, one in another; nobody sends three.
_LAYERS_MAX = 3


class CannotUnpack(Exception):
    """Bytes that are not what their `Content-Encoding` says, or are too many: a reason."""


def unpack(body: bytes, encoding: str | None) -> bytes:
    """*body* as it was before *encoding*, a `Content-Encoding` field, was applied.

    Raises `CannotUnpack`; never returns more than `UNPACKED_BYTES_MAX`.
    """
    layers = [part.strip().lower() for part in (encoding or "").split(",")]
    layers = [layer for layer in layers if layer not in {"", "identity"}]
    if len(layers) > _LAYERS_MAX:
        raise CannotUnpack(f"{len(layers)} encodings, one in another")
    for layer in reversed(layers):
        unpacker = _UNPACKERS.get(layer)
        if unpacker is None:
            raise CannotUnpack(f"the encoding {layer!r} is not known")
        body = unpacker(body)
    return body


def _zlib(window_bits: int) -> Callable[[bytes], bytes]:
    def inflate(data: bytes) -> bytes:
        stream = zlib.decompressobj(window_bits)
        try:
            whole = stream.decompress(data, UNPACKED_BYTES_MAX)
        except zlib.error as error:
            raise CannotUnpack(f"not what its encoding says: {error}") from error
        return _whole(whole, finished=stream.eof, more=bool(stream.unconsumed_tail))

    return inflate


def _deflate(data: bytes) -> bytes:
    # RFC 9110, section 8.4.1.2: zlib's format is meant, and some send the bare stream.
    try:
        return _ZLIB(data)
    except CannotUnpack:
        return _BARE(data)


def _brotli(data: bytes) -> bytes:
    stream = brotli.Decompressor()
    try:
        whole = stream.process(data, output_buffer_limit=UNPACKED_BYTES_MAX)
    except brotli.error as error:
        raise CannotUnpack(f"not what its encoding says: {error}") from error
    finished = stream.is_finished()
    return _whole(whole, finished=finished, more=not stream.can_accept_more_data())


def _zstd(data: bytes) -> bytes:
    stream = zstd.ZstdDecompressor()
    try:
        whole = stream.decompress(data, UNPACKED_BYTES_MAX)
    except zstd.ZstdError as error:
        raise CannotUnpack(f"not what its encoding says: {error}") from error
    return _whole(whole, finished=stream.eof, more=not stream.needs_input)


def _whole(data: bytes, *, finished: bool, more: bool) -> bytes:
    if finished and len(data) <= UNPACKED_BYTES_MAX:
        return data
    if more or len(data) >= UNPACKED_BYTES_MAX:
        raise CannotUnpack(f"more than {UNPACKED_BYTES_MAX} bytes once it is unpacked")
    raise CannotUnpack("ends before what it packs does")


_ZLIB = _zlib(zlib.MAX_WBITS)
_BARE = _zlib(-zlib.MAX_WBITS)
_UNPACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": _zlib(zlib.MAX_WBITS | 16),
    "x-gzip": _zlib(zlib.MAX_WBITS | 16),
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}
