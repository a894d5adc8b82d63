"""A range of a file in, the messages in it out."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from schemas.message import FileRange, Messages
from transforms.io.files.avro import read_avro
from transforms.io.files.compressed import read_gzip, read_zstd
from transforms.io.files.lines import read_lines
from transforms.io.files.parquet import read_parquet
from transforms.io.files.pieces import Piece, Sizes, gather
from transforms.io.files.source import Source

SIZES = Sizes()

_READERS: dict[str, Callable[[Source, FileRange, Sizes], Iterator[Piece]]] = {
    "lines": read_lines,
    "gzip": read_gzip,
    "zstd": read_zstd,
    "avro": read_avro,
    "parquet": read_parquet,
}


def read_range(
    part: FileRange, batch_size: int = SIZES.messages, batch_bytes: int = SIZES.batch, sizes: Sizes = SIZES
) -> Iterator[Messages]:
    """Yield the messages that start in a range, in their order.

    The messages of all ranges of a file are the same, however it is split. What cannot be decoded is a message with a reason;
    it costs no other.

    Args:
        part: as planned.
        batch_size: the most messages at once.
        batch_bytes: the most bytes at once; a longer message goes alone.
        sizes: what else bounds memory.

    Raises:
        Unavailable: the file cannot be read, or has become shorter.
    """
    sizes = replace(sizes, messages=batch_size, batch=batch_bytes)
    with Source(part.path, part.size) as source:
        yield from gather(_READERS[part.format](source, part, sizes), part, sizes)
