"""Helpers: files in, their messages out."""

from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from schemas.message import FileRange
from transforms.io.files.identity import StoredFile, Stretch
from transforms.io.files.pieces import Sizes
from transforms.io.files.plan import beginning_of, split
from transforms.io.files.read import read_range

RUN = UUID(int=7)
ARRIVAL = 1_700_000_000_000_000
WHOLE = 1 << 40  # a range that holds any file


class Read(NamedTuple):
    payload: bytes
    offset: int
    rejected: str = ""
    arrival: int = ARRIVAL


def ranges(path: Path, range_bytes: int = WHOLE) -> list[FileRange]:
    """Return the ranges of a file that arrived at ARRIVAL."""
    return parts(str(path), path.stat().st_size, range_bytes=range_bytes)


def parts(path: str, size: int, run: UUID = RUN, arrival: int = ARRIVAL, range_bytes: int = WHOLE) -> list[FileRange]:
    """Return the ranges of a file that is one stretch."""
    return list(split(StoredFile(path, size), beginning_of(path).format, [Stretch(size, path, arrival)], run, range_bytes))


def read(path: Path, range_bytes: int = WHOLE, sizes: Sizes | None = None, batch_size: int = 2_000) -> list[Read]:
    """Return the messages of all ranges of a file."""
    found = []
    for part in ranges(path, range_bytes):
        for messages in read_range(part, batch_size, sizes=sizes or Sizes()):
            assert (messages.receipt, messages.source, messages.arrival) == (part.receipt, str(path), ARRIVAL)
            assert len(messages.payloads) == len(messages.offsets) <= batch_size
            arrivals = messages.arrivals or [ARRIVAL] * len(messages.payloads)
            rows = zip(messages.payloads, messages.offsets, arrivals, strict=True)
            found += [Read(payload, offset, messages.rejected, arrival) for payload, offset, arrival in rows]
    return found


def payloads(found: list[Read]) -> list[bytes]:
    """Return the payloads of good messages."""
    return [one.payload for one in found if not one.rejected]
