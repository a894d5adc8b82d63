"""Blocks of an Avro file as stored in, their bytes out: never more than there may be."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import pyarrow as pa

from transforms.io.files.compressed import inflate_zstd
from transforms.io.files.pieces import Undecodable

_CHECKSUM_BYTES = 4
_ERRORS = (zlib.error, lzma.LZMAError, pa.ArrowException, OSError, EOFError, ValueError, IndexError)


def decompress(codec: str, data: bytes, limit: int) -> bytes:
    """Return the bytes of a block.

    Raises:
        Undecodable: they are broken, or more than `limit`.
    """
    try:
        inflated = CODECS[codec](data, limit)
    except _ERRORS as error:
        raise Undecodable() from error
    if len(inflated) > limit:
        raise Undecodable()
    return inflated


def _as_stored(data: bytes, limit: int) -> bytes:  # noqa: ARG001
    return data


def _inflated(new_stream: Callable[[], Any], data: bytes, limit: int) -> bytes:
    inflated: bytes = new_stream().decompress(data, limit + 1)
    return inflated


def _from_zstd(data: bytes, limit: int) -> bytes:
    inflated = bytearray()
    for block in inflate_zstd(BytesIO(data)):
        inflated += block
        if len(inflated) > limit:
            break
    return bytes(inflated)


def _from_snappy(data: bytes, limit: int) -> bytes:
    """Return the bytes of a raw snappy block: it starts with their number, and a checksum follows."""
    stored, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    size, _ = read_number(stored, 0)
    if size > limit:
        raise Undecodable()
    inflated: bytes = pa.Codec("snappy").decompress(stored, size, asbytes=True)
    if zlib.crc32(inflated) != int.from_bytes(checksum, "big"):
        raise Undecodable()
    return inflated


def read_number(data: bytes, start: int) -> tuple[int, int]:
    """Return an unsigned number, seven bits a byte, and where it ends.

    Raises:
        Undecodable: it does not end within ten bytes.
    """
    number = 0
    for place, byte in enumerate(data[start : start + 10]):
        number |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return number, start + place + 1
    raise Undecodable()


CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": _as_stored,
    "deflate": partial(_inflated, partial(zlib.decompressobj, -zlib.MAX_WBITS)),
    "bzip2": partial(_inflated, bz2.BZ2Decompressor),
    "xz": partial(_inflated, lzma.LZMADecompressor),
    "snappy": _from_snappy,
    "zstandard": _from_zstd,
}
