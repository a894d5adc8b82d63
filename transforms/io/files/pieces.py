"""Messages as the readers of formats find them in, `Messages` of a good size out."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from schemas.limits import MAX_BODY_BYTES
from schemas.message import FileRange, Messages
from schemas.reasons import Reason

KEPT_BYTES = 1_000_000  # of what cannot be read: enough to see what it was


@dataclass(frozen=True)
class Sizes:
    """What bounds memory.

    Attributes:
        messages, batch: the most messages of one element, and their bytes; a longer message goes alone.
        block: bytes that are read or inflated at once. The processor's cache should hold them.
        line: the longest line that becomes a message, in bytes: a request body, and something around it.
        avro_block: the longest block of an Avro file, in bytes, as stored and decompressed.
    """

    messages: int = 2_000
    batch: int = 4 << 20
    block: int = 256 << 10
    line: int = MAX_BODY_BYTES + 1_000_000
    avro_block: int = 128 << 20


class Piece(NamedTuple):
    """Messages that a reader found at once, in the order of the file.

    Attributes:
        payloads, offsets: as in `Messages`.
        size: of the payloads, about, in bytes.
        arrivals: as in `Messages`; all pieces of a file have them, or none.
        rejected: as in `Messages`.
    """

    payloads: list[bytes]
    offsets: Sequence[int]
    size: int
    arrivals: Sequence[int] = ()
    rejected: str = ""


class Undecodable(Exception):
    """What follows in a file cannot be decoded.

    Args:
        tail: the first bytes that cannot, or None if it is the message that was being read.
    """

    def __init__(self, tail: bytes | None = None) -> None:
        super().__init__()
        self.tail = tail


def unreadable(tail: bytes, offset: int) -> Piece:
    """Return the one message that stands for a part of a file that cannot be decoded."""
    return Piece([tail[:KEPT_BYTES]], [offset], len(tail), rejected=Reason.UNREADABLE_FILE.value)


def gather(pieces: Iterable[Piece], part: FileRange, sizes: Sizes) -> Iterator[Messages]:
    """Yield the messages of the pieces, in their order, at most `sizes.messages` and `sizes.batch` bytes at once."""
    batch = _Batch(part, sizes.messages)
    for piece in pieces:
        if piece.rejected or batch.size + piece.size > sizes.batch:
            yield from batch.cut(everything=True)
        for small in _small_enough(piece, sizes.batch):
            batch.add(small)
            yield from batch.cut(everything=bool(piece.rejected) or small is not piece)
    yield from batch.cut(everything=True)


def _small_enough(piece: Piece, limit: int) -> Iterator[Piece]:
    """Yield the piece, or smaller ones if it has more bytes than a batch."""
    if piece.size <= limit or len(piece.payloads) == 1:
        yield piece
        return
    ends = list(accumulate(map(len, piece.payloads)))
    first = taken = 0
    for place, end in enumerate(ends):
        if place > first and end - taken > limit:
            yield _between(piece, first, place)
            first, taken = place, ends[place - 1]
    yield _between(piece, first, len(ends))


def _between(piece: Piece, first: int, end: int) -> Piece:
    return Piece(piece.payloads[first:end], piece.offsets[first:end], 0, piece.arrivals[first:end], piece.rejected)


class _Batch:
    """Messages that were not handed on yet."""

    def __init__(self, part: FileRange, messages: int) -> None:
        self._part = part
        self._messages = messages
        self._clear()

    def _clear(self) -> None:
        self.size = 0
        self._payloads: list[bytes] = []
        self._offsets: list[int] = []
        self._arrivals: list[int] = []
        self._rejected = ""

    def add(self, piece: Piece) -> None:
        self.size += piece.size
        self._payloads += piece.payloads
        self._offsets += piece.offsets
        self._arrivals += piece.arrivals
        self._rejected = piece.rejected

    def cut(self, everything: bool) -> Iterator[Messages]:
        """Yield full batches, and what is left if all is to go."""
        end = len(self._payloads) if everything else len(self._payloads) // self._messages * self._messages
        if not end:
            return
        for first in range(0, end, self._messages):
            yield self._messages_between(first, min(end, first + self._messages))
        left = Piece(self._payloads[end:], self._offsets[end:], sum(map(len, self._payloads[end:])), self._arrivals[end:])
        self._clear()
        self.add(left)

    def _messages_between(self, first: int, end: int) -> Messages:
        part, arrivals = self._part, self._arrivals[first:end]
        payloads, offsets = self._payloads[first:end], self._offsets[first:end]
        return Messages(part.receipt, part.name or part.path, payloads, offsets, part.arrival, arrivals, self._rejected)
