"""Compressed text in, its lines out, in bounded memory. What cannot be decoded ends a file, as one rejected message."""

import zlib
from collections.abc import Generator, Iterator

import zstandard

from schemas.message import FileRange
from transforms.io.files.lines import split_lines
from transforms.io.files.pieces import KEPT_BYTES, Piece, Sizes, Undecodable
from transforms.io.files.source import Readable, Source, read_exactly

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE = frozenset(bytes([0x50 + kind, 0x2A, 0x4D, 0x18]) for kind in range(16))  # frames with no data in them

_STORED_BYTES = 64 << 10  # that are read at once
_GZIP = 16 + zlib.MAX_WBITS
_ZSTD_BLOCK = 128 << 10  # bytes; the largest block of a frame
_RUN, _RESERVED = 1, 3  # types of a block


def read_gzip(source: Source, part: FileRange, sizes: Sizes) -> Iterator[Piece]:  # noqa: ARG001
    """Yield the lines of a gzip file of any number of members."""
    return split_lines(_placed(inflate_gzip(source, sizes.block)), sizes.line)


def read_zstd(source: Source, part: FileRange, sizes: Sizes) -> Iterator[Piece]:  # noqa: ARG001
    """Yield the lines of a zstd file of any number of frames."""
    return split_lines(_placed(inflate_zstd(source)), sizes.line)


def _placed(blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    position = 0
    for data in blocks:
        if data:
            yield position, data
        position += len(data)


def inflate_gzip(source: Readable, block: int) -> Iterator[bytes]:
    """Yield what a gzip file holds, in blocks of at most `block` bytes.

    Raises:
        Undecodable: the file is cut short or broken. All that comes before was yielded.
    """
    stored = source.read(_STORED_BYTES)
    while stored:
        if len(stored) < len(GZIP_MAGIC):  # of a member after another
            stored += source.read(_STORED_BYTES)
        if not stored.startswith(GZIP_MAGIC):
            raise Undecodable(stored[:KEPT_BYTES])
        after = yield from _inflate_member(source, stored, block)
        stored = _skip_padding(source, after)


def _skip_padding(source: Readable, stored: bytes) -> bytes:
    """Return what follows the zero bytes that some tools put after a member."""
    while not (rest := stored.lstrip(b"\0")) and (stored := source.read(_STORED_BYTES)):
        pass
    return rest


def _inflate_member(source: Readable, stored: bytes, block: int) -> Generator[bytes, None, bytes]:
    """Yield what a member holds; return the bytes after it that were read already."""
    stream = zlib.decompressobj(_GZIP)
    while True:
        before = stream.copy()
        try:
            data = stream.decompress(stored, block)
        except zlib.error:
            yield from _before_error(before, stored)
            raise Undecodable() from None
        yield data
        if stream.eof:
            return stream.unused_data
        stored = stream.unconsumed_tail
        if not stored and len(data) < block and not (stored := source.read(_STORED_BYTES)):
            raise Undecodable()


def _before_error(stream: "zlib._Decompress", stored: bytes) -> Iterator[bytes]:
    """Yield what can be decoded: zlib throws away what it has when it fails, so it gets a byte at a time, and gives one."""
    data = bytearray()
    try:
        for place in range(len(stored)):
            byte = stored[place : place + 1]
            while decoded := stream.decompress(byte, 1):
                data += decoded
                byte = stream.unconsumed_tail
    except zlib.error:
        pass
    yield bytes(data)


def inflate_zstd(source: Readable) -> Iterator[bytes]:
    """Yield what a zstd file holds, in blocks of at most 128 KiB.

    The library would either inflate all that it is given, however much that becomes, or lose what it had inflated before
    an error. So frames are taken apart here (RFC 8878, 3.1.1), and it gets one block at a time.

    Raises:
        Undecodable: the file is cut short or broken. All that comes before was yielded.
    """
    while magic := source.read(len(ZSTD_MAGIC)):
        if magic == ZSTD_MAGIC:
            yield from _inflate_frame(source)
        elif magic in ZSTD_SKIPPABLE:
            _skip(source, int.from_bytes(read_exactly(source, 4), "little"))
        else:
            raise Undecodable((magic + source.read(KEPT_BYTES))[:KEPT_BYTES])


def _inflate_frame(source: Readable) -> Iterator[bytes]:
    stream = zstandard.ZstdDecompressor().decompressobj()
    descriptor = read_exactly(source, 1)
    header = descriptor + read_exactly(source, _header_bytes(descriptor[0]))
    yield _decompress(stream, ZSTD_MAGIC + header)
    is_last = False
    while not is_last:
        start = read_exactly(source, 3)
        fields = int.from_bytes(start, "little")
        is_last, kind, size = bool(fields & 1), fields >> 1 & 3, fields >> 3
        if kind == _RESERVED or size > _ZSTD_BLOCK:
            raise Undecodable()
        yield _decompress(stream, start + read_exactly(source, 1 if kind == _RUN else size))
    if descriptor[0] & 0b100:
        yield _decompress(stream, read_exactly(source, 4))  # the checksum


def _header_bytes(descriptor: int) -> int:
    """Return how many bytes of a frame's header follow the descriptor: window, dictionary, size of the content."""
    is_single = descriptor >> 5 & 1
    content = (is_single, 2, 4, 8)[descriptor >> 6]
    return (1 - is_single) + (0, 1, 2, 4)[descriptor & 3] + content


def _decompress(stream: "zstandard.ZstdDecompressionObj", stored: bytes) -> bytes:
    try:
        return stream.decompress(stored)
    except zstandard.ZstdError:
        raise Undecodable() from None


def _skip(source: Readable, size: int) -> None:
    while size:
        size -= len(read_exactly(source, min(size, _STORED_BYTES)))
