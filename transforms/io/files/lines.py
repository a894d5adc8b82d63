"""Blocks of bytes in, the lines in them out. A line belongs to the range in which its first byte lies."""

from collections.abc import Iterable, Iterator
from io import BytesIO
from itertools import accumulate, compress, repeat

from schemas.message import FileRange
from schemas.reasons import Reason
from transforms.io.files.pieces import KEPT_BYTES, Piece, Sizes, Undecodable, unreadable
from transforms.io.files.source import Source

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_lines(source: Source, part: FileRange, sizes: Sizes) -> Iterator[Piece]:
    """Yield the lines of a range of a text file."""
    return split_lines(_owned_blocks(source, part.start, part.end, sizes.block), sizes.line)


def split_lines(blocks: Iterable[tuple[int, bytes]], max_line: int) -> Iterator[Piece]:
    """Yield the lines of consecutive blocks, without their ends, and without those that are blank.

    A line of more than `max_line` bytes becomes a rejected message, cut. Blocks that end with `Undecodable` give one as their last.

    Args:
        blocks: each with the position of its first byte. The first block begins with a line.
        max_line: in bytes, without the newline.
    """
    splitter = _Splitter(max_line)
    try:
        for position, data in blocks:
            yield from splitter.feed(position, data)
    except Undecodable as broken:
        if broken.tail is None:
            yield unreadable(splitter.unfinished(), splitter.start)
        else:
            yield from splitter.finish()
            yield unreadable(broken.tail, splitter.start)
    else:
        yield from splitter.finish()


def _owned_blocks(source: Source, start: int, end: int, block: int) -> Iterator[tuple[int, bytes]]:
    """Yield the blocks that hold the lines which start in `[start, end)`, and nothing else."""
    position = source.seek(max(0, start - 1))  # a newline there means that a line starts at `start`
    searching, data = start > 0, b""
    while position < end and (data := source.read(min(block, end - position))):
        position += len(data)
        if searching:
            searching = b"\n" not in data
            data = b"" if searching else data[data.index(b"\n") + 1 :]
        if data:
            yield position - len(data), data
    if data and not data.endswith(b"\n"):
        yield from _rest_of_line(source, position, block)


def _rest_of_line(source: Source, position: int, block: int) -> Iterator[tuple[int, bytes]]:
    while data := source.read(block):
        end = data.find(b"\n") + 1
        yield position, data[:end] if end else data
        if end:
            return
        position += len(data)


class _Splitter:
    """Lines of the blocks so far, of which the last may not be finished.

    Attributes:
        start: where the unfinished line starts; if there is none, where the next would.
    """

    def __init__(self, max_line: int) -> None:
        self.start = 0
        self._max_line = max_line
        self._length = 0  # of the unfinished line
        self._parts: list[bytes] = []  # of it; without those that are beyond the limit

    def feed(self, position: int, data: bytes) -> Iterator[Piece]:
        """Yield the lines that a block finishes.

        Looking for newlines is most of the cost of reading: `readlines` does it in C with memchr; `split` goes byte by byte.
        """
        lines = BytesIO(data).readlines()
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        if lines:
            lengths = list(map(len, lines))
            lengths[0] += self._length
            lines[0] = b"".join([*self._parts, lines[0]])
            yield from self._pieces(lines, lengths, self.start if self._length else position)
            self._length, self._parts = 0, []
        if not self._length:
            self.start = position + len(data) - len(rest)
        self._extend(rest)

    def finish(self) -> Iterator[Piece]:
        """Yield the unfinished line, if there is one."""
        if self._length:
            yield from self.feed(self.start + self._length, b"\n")
            self.start -= 1

    def unfinished(self) -> bytes:
        """Return what is known of the unfinished line."""
        return b"".join(self._parts)

    def _extend(self, part: bytes) -> None:
        if part and self._length <= self._max_line:
            self._parts.append(part)
        self._length += len(part)

    def _pieces(self, lines: list[bytes], lengths: list[int], start: int) -> Iterator[Piece]:
        """Yield the lines, which end with newlines and are counted with them. The first may be cut if it is too long."""
        offsets = list(accumulate(lengths, initial=start))
        size = offsets.pop() - start
        if size <= self._max_line or max(lengths) <= self._max_line + 1:
            yield from _good_lines(lines, offsets, size)
            return
        first = 0
        for place, length in enumerate(lengths):
            if length > self._max_line + 1:
                yield from _good_lines(lines[first:place], offsets[first:place], 0)
                yield self._too_long(lines[place], offsets[place])
                first = place + 1
        yield from _good_lines(lines[first:], offsets[first:], 0)

    def _too_long(self, line: bytes, offset: int) -> Piece:
        kept = line[: min(KEPT_BYTES, self._max_line)]
        return Piece([kept], [offset], len(kept), rejected=Reason.BODY_TOO_LARGE.value)


def _good_lines(lines: list[bytes], offsets: list[int], size: int) -> Iterator[Piece]:
    if not lines:
        return
    payloads = list(map(bytes.rstrip, lines, repeat(b"\r\n")))
    if offsets[0] == 0:
        payloads[0] = payloads[0].removeprefix(_BYTE_ORDER_MARK)
    if not all(payloads) or any(map(bytes.isspace, payloads)):
        kept = [bool(payload.strip()) for payload in payloads]
        payloads, offsets = list(compress(payloads, kept)), list(compress(offsets, kept))
    if payloads:
        yield Piece(payloads, offsets, size)
