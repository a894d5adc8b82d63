"""Avro object containers in, their records as messages out. A block belongs to the range in which it starts."""

from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import msgspec
from fastavro import block_reader, schemaless_reader, schemaless_writer
from fastavro.read import HEADER_SCHEMA, LOGICAL_READERS, MAGIC

from schemas.message import FileRange
from transforms.io.files.avro_codecs import CODECS, decompress, read_number
from transforms.io.files.pieces import KEPT_BYTES, Piece, Sizes, Undecodable, unreadable
from transforms.io.files.records import ARRIVAL_FIELD, Shape
from transforms.io.files.source import Source, read_exactly

# A message's offset is the first byte of its block, shifted by so much, plus its place in the block. That is unique in the file:
# no byte of a block stands for a million records.
OFFSET_SHIFT = 20

_SYNC_BYTES = 16
_HEADER_BYTES = 1 << 20  # in which a file's header must end
_FRAME_BYTES = 20  # two numbers at most: a block's records, and its bytes
_TOLERANT = "sluice-"  # put before the names of logical types


def read_avro(source: Source, part: FileRange, sizes: Sizes) -> Iterator[Piece]:
    """Yield the records of the blocks that start in a range.

    What cannot be decoded is one rejected message; then reading goes on after the next sync marker. A broken header is reported
    by the file's first range.
    """
    head = source.read(_HEADER_BYTES)
    try:
        container = _Container(head)
    except Undecodable:
        if part.start == 0:
            yield unreadable(head, 0)
        return
    segments = _Segments(source, container.sync, part, sizes)
    for position, segment in segments.after_header(container.first):
        yield from _read_segment(container, position, segment, part.arrival, sizes.avro_block)


class _Container:
    """What a file's header says, and how records are decoded by it.

    Attributes:
        sync: the marker after each block.
        first: where the first block starts.
        codec: how blocks are compressed.
        shape: how records become messages.

    Raises:
        Undecodable: the header is broken, or names a codec that is not known.
    """

    def __init__(self, head: bytes) -> None:
        file = BytesIO(head)
        try:
            header = schemaless_reader(file, HEADER_SCHEMA)
            schema = msgspec.json.decode(header["meta"]["avro.schema"])
            self.codec: str = header["meta"].get("avro.codec", b"null").decode()
            self.sync: bytes = header["sync"]
            self.shape = Shape(_fields(schema))
            self._open(_tolerant(schema))
        except Exception as error:
            raise Undecodable() from error
        if self.codec not in CODECS:
            raise Undecodable()
        self.first = file.tell()

    def _open(self, schema: Any) -> None:
        """Open a file in memory with this schema and no codec. Blocks are put into it one by one: the schema is parsed only once."""
        self._file = BytesIO()
        meta = {"avro.schema": msgspec.json.encode(schema)}
        schemaless_writer(self._file, HEADER_SCHEMA, {"magic": MAGIC, "meta": meta, "sync": self.sync})
        self._file.seek(0)
        self._blocks = block_reader(self._file, handle_unicode_errors="replace")

    def records(self, count: int, data: bytes) -> tuple[list[Any], bool]:
        """Return the records of a block up to the first that cannot be decoded, and whether they are all."""
        self._file.seek(0)
        self._file.truncate()
        schemaless_writer(self._file, "long", count)
        schemaless_writer(self._file, "bytes", data)
        self._file.write(self.sync)
        self._file.seek(0)
        records: list[Any] = []
        try:
            block = next(self._blocks)
            for record in block:
                records.append(record)
        except Exception:  # noqa: BLE001 - fastavro raises whatever it stumbles upon; the bytes are in memory, so they are at fault
            return records, False
        return records, not block.bytes_.read(1)


def _tolerant(schema: Any) -> Any:
    """Return the schema without defaults, which readers do not need, and with logical types that keep what they cannot convert.

    Otherwise one impossible date makes the rest of its block unreadable.
    """
    if isinstance(schema, list):
        return [_tolerant(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _tolerant(value) for key, value in schema.items() if key != "default"}
    if isinstance(logical := inner.get("logicalType"), str):
        inner["logicalType"] = _TOLERANT + logical
    return inner


def _keep_if_impossible(convert: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    def tolerant(data: Any, writer_schema: Any = None, reader_schema: Any = None) -> Any:
        try:
            return convert(data, writer_schema, reader_schema)
        except (ValueError, OverflowError, ArithmeticError, LookupError):
            return data

    return tolerant


for _name, _convert in list(LOGICAL_READERS.items()):
    _kind, _, _logical = _name.partition("-")
    LOGICAL_READERS[f"{_kind}-{_TOLERANT}{_logical}"] = _keep_if_impossible(_convert)


def _fields(schema: Any) -> dict[str, bool]:
    """Return the names of a record's fields, and whether they hold text or bytes."""
    fields = schema.get("fields", []) if isinstance(schema, dict) else []
    return {field["name"]: _is_raw(field["type"]) for field in fields}


def _is_raw(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_is_raw, schema))
    if isinstance(schema, dict):
        return "logicalType" not in schema and _is_raw(schema.get("type"))
    return schema in ("string", "bytes")


class _Segments:
    """What lies between two sync markers: one block, unless something is broken."""

    def __init__(self, source: Source, sync: bytes, part: FileRange, sizes: Sizes) -> None:
        self._source = source
        self._sync = sync
        self._part = part
        self._sizes = sizes

    def after_header(self, first: int) -> Iterator[tuple[int, bytes]]:
        """Yield the segments that start in the range, with their positions.

        Args:
            first: where the file's first block starts.
        """
        start, end = self._part.start, self._part.end
        position = first if start <= first else self._find(start - _SYNC_BYTES)
        while position < end:
            segment, after = self._framed(position) or self._searched(position)
            yield position, segment
            position = after

    def _framed(self, position: int) -> tuple[bytes, int] | None:
        """Return a block that is as long as it says, and where the next starts; or None."""
        self._source.seek(position)
        data = self._source.read(_FRAME_BYTES)
        try:
            _, size, start = _read_frame(data, 0)
        except Undecodable:
            return None
        end = start + size
        if size > self._sizes.avro_block or position + end + _SYNC_BYTES > self._part.size:
            return None
        data += read_exactly(self._source, max(0, end + _SYNC_BYTES - len(data)))
        return (data[:end], position + end + _SYNC_BYTES) if data.startswith(self._sync, end) else None

    def _searched(self, position: int) -> tuple[bytes, int]:
        """Return what comes before the next marker, cut if that is far, and where the next block of the range starts."""
        self._source.seek(position)
        segment = bytearray()
        while len(segment) <= self._sizes.avro_block:
            data = self._source.read(self._sizes.block)
            if not data:
                return bytes(segment), position + len(segment)
            searched = max(0, len(segment) - _SYNC_BYTES)
            segment += data
            if (end := segment.find(self._sync, searched)) >= 0:
                return bytes(segment[:end]), position + end + _SYNC_BYTES
        return bytes(segment[:KEPT_BYTES]), self._find(position + len(segment) - _SYNC_BYTES)

    def _find(self, position: int) -> int:
        """Return where the first block starts that has its marker at or after a position; the range's end if it is not in the range."""
        self._source.seek(position)
        window = b""
        while position + _SYNC_BYTES < self._part.end and (data := self._source.read(self._sizes.block)):
            window += data
            if (place := window.find(self._sync)) >= 0:
                return position + place + _SYNC_BYTES
            position += max(0, len(window) - _SYNC_BYTES)
            window = window[-_SYNC_BYTES:]
        return self._part.end


def _read_frame(data: bytes, start: int) -> tuple[int, int, int]:
    """Return how many records and bytes a block says to have, and where its bytes start.

    Raises:
        Undecodable: that cannot be.
    """
    count, start = read_number(data, start)
    size, start = read_number(data, start)
    if count & 1 or size & 1:  # signed numbers are stored as 0, -1, 1, -2
        raise Undecodable()
    return count >> 1, size >> 1, start


def _read_segment(container: _Container, position: int, segment: bytes, arrival: int, limit: int) -> Iterator[Piece]:
    """Yield the messages of a segment. Where a sync marker is damaged, it holds more than one block."""
    start = 0
    while start < len(segment):
        offset = position + start << OFFSET_SHIFT
        records, end = _read_block(container, segment, start, limit)
        if records:
            yield _piece(container.shape, records, offset, arrival)
        if end is None:
            yield unreadable(segment[start:], offset + len(records))
            return
        start = end + _SYNC_BYTES


def _piece(shape: Shape, records: list[Any], offset: int, otherwise: int) -> Piece:
    messages = records if shape.raw is None else [record[shape.raw] for record in records]
    nows = [record[ARRIVAL_FIELD] for record in records] if shape.has_arrival else []
    return shape.piece(messages, nows, range(offset, offset + len(records)), otherwise)


def _read_block(container: _Container, segment: bytes, start: int, limit: int) -> tuple[list[Any], int | None]:
    """Return the records of a block up to the first that cannot be decoded, and where it ends if they are all."""
    try:
        count, size, start = _read_frame(segment, start)
        data = decompress(container.codec, segment[start : start + size], limit)
    except Undecodable:
        return [], None
    if start + size > len(segment) or count > len(data):
        return [], None
    records, is_whole = container.records(count, data)
    return records, start + size if is_whole else None
