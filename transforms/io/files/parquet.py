"""Parquet files in, their rows as messages out. A row group belongs to the range in which its first byte lies."""

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.message import FileRange
from transforms.io.files.pieces import KEPT_BYTES, Piece, Sizes, Undecodable, unreadable
from transforms.io.files.records import ARRIVAL_FIELD, Shape
from transforms.io.files.source import Source

# Remote filesystems are slow in going from column to column, so a row group is read at once if it is no larger than this.
_WHOLE_GROUP_BYTES = 64 << 20
_BUFFER_BYTES = 1 << 20  # of each column, if it is larger
_UTC = "+00:00"  # as an offset: that needs no database of time zones
_FRACTION_CHARS = {"s": 0, "ms": 4, "us": 7}
# What pyarrow raises for broken files. What the source raises comes through as it is.
_ERRORS = (pa.ArrowException, OSError, ValueError, OverflowError)


def read_parquet(source: Source, part: FileRange, sizes: Sizes) -> Iterator[Piece]:
    """Yield the rows of the row groups that start in a range. A row's offset is its number in the file.

    What cannot be decoded of a row group is one rejected message. A broken footer is reported by the file's first range.
    """
    try:
        file = _open(source)
    except Undecodable:
        if part.start == 0:
            yield unreadable(_stored(source, max(0, part.size - KEPT_BYTES)), 0)
        return
    groups = [file.metadata.row_group(place) for place in range(file.num_row_groups)]
    first_rows = accumulate((group.num_rows for group in groups), initial=0)
    for place, (group, first_row) in enumerate(zip(groups, first_rows, strict=False)):
        if part.start <= (first_byte := _first_byte(group, part.size)) < part.end:
            pieces = _read_group(file, place, first_row, part, sizes)
            yield from _or_unreadable(pieces, source, first_byte, first_row)


def _open(source: Source) -> pq.ParquetFile:
    """Return the file, of which the footer is known to be good. Pages are checked when they are read, if they have checksums."""
    try:
        stored = pa.PythonFile(source, mode="r")
        metadata = pq.read_metadata(stored)
        file = pq.ParquetFile(
            stored,
            metadata=metadata,
            buffer_size=_BUFFER_BYTES,
            pre_buffer=_largest_group(metadata) <= _WHOLE_GROUP_BYTES,
            coerce_int96_timestamp_unit="us",
            page_checksum_verification=True,
        )
        _ = file.schema_arrow
    except _ERRORS as error:
        raise Undecodable() from error
    return file


def _largest_group(metadata: pq.FileMetaData) -> int:
    """Return the bytes of the largest row group, as stored."""
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    return max((sum(group.column(place).total_compressed_size for place in range(group.num_columns)) for group in groups), default=0)


def _stored(source: Source, position: int) -> bytes:
    source.seek(position)
    return source.read(KEPT_BYTES)


def _first_byte(group: Any, size: int) -> int:
    """Return where a row group starts; somewhere in the file, whatever its metadata say: then one range reads it, and only one."""
    if not group.num_columns:
        return 0
    column = group.column(0)
    starts = [start for start in (column.dictionary_page_offset, column.data_page_offset) if start]
    first: int = min([size - 1, *starts])
    return max(0, first)


def _or_unreadable(pieces: Iterator[Piece], source: Source, first_byte: int, row: int) -> Iterator[Piece]:
    """Yield the pieces, and one for what cannot be decoded."""
    try:
        for piece in pieces:
            row += len(piece.payloads)
            yield piece
    except Undecodable:
        yield unreadable(_stored(source, first_byte), row)


def _read_group(file: pq.ParquetFile, place: int, row: int, part: FileRange, sizes: Sizes) -> Iterator[Piece]:
    shape = Shape({field.name: _is_raw(field.type) for field in file.schema_arrow})
    group = file.metadata.row_group(place)
    rows = max(1, min(sizes.messages, sizes.batch * group.num_rows // max(1, group.total_byte_size)))
    for columns in _decoded(file.iter_batches(rows, row_groups=[place], columns=_needed(shape), use_threads=False)):
        messages = _records(columns) if shape.raw is None else columns[shape.raw]
        nows = columns[ARRIVAL_FIELD] if shape.has_arrival else []
        yield shape.piece(messages, nows, range(row, row + len(messages)), part.arrival)
        row += len(messages)


def _needed(shape: Shape) -> list[str] | None:
    """Return the columns to read, or None for all."""
    if shape.raw is None:
        return None
    return [shape.raw, ARRIVAL_FIELD] if shape.has_arrival else [shape.raw]


def _decoded(batches: Iterator[pa.RecordBatch]) -> Iterator[dict[str, list[Any]]]:
    """Yield the values of the columns of each batch."""
    while True:
        try:
            batch = next(batches, None)
            columns = {} if batch is None else dict(zip(batch.schema.names, map(_values, batch.columns), strict=True))
        except _ERRORS as error:
            raise Undecodable() from error
        if batch is None:
            return
        yield columns


def _records(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _values(column: pa.Array) -> list[Any]:
    """Return the values of a column. Times that Python does not know are numbers."""
    column = column.cast(_simple(column.type), safe=False)
    try:
        return _written(column) if pa.types.is_timestamp(column.type) else _listed(column)
    except (ValueError, OverflowError):
        return [value for place in range(len(column)) for value in _value(column.slice(place, 1))]


def _written(times: pa.Array) -> list[Any]:
    """Return times as RFC 3339, in UTC. That takes a twentieth of what it takes to make datetimes and write those.

    Raises:
        ValueError: one is out of range.
    """
    unit = times.type.unit
    text = times.view(pa.int64()).view(pa.timestamp(unit)).cast(pa.string())
    lengths = pc.min_max(pc.binary_length(text)).as_py()
    if not {lengths["min"], lengths["max"]} <= {None, len("2026-01-01 00:00:00") + _FRACTION_CHARS[unit]}:
        raise ValueError("a time is out of range")
    return _listed(pc.binary_join_element_wise(pc.binary_replace_slice(text, 10, 11, "T"), "Z", ""))


def _value(cell: pa.Array) -> list[Any]:
    try:
        return _listed(cell)
    except (ValueError, OverflowError):
        return _listed(cell.cast(_simple(cell.type, times=False), safe=False))


def _listed(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist(maps_as_pydicts="lossy")
    return values


def _is_raw(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return _is_text(kind) or bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _simple(kind: pa.DataType, times: bool = True) -> pa.DataType:
    """Return the type as which a type is read: text as bytes, since it may not be UTF-8; times as Python knows them.

    Args:
        kind: as stored.
        times: False if times are read as numbers.
    """
    types = pa.types
    if _is_text(kind):
        return pa.large_binary() if types.is_large_string(kind) else pa.binary()
    if types.is_dictionary(kind):
        return _simple(kind.value_type, times)
    if types.is_temporal(kind):
        return _simple_time(kind) if times else pa.int32() if kind.bit_width == 32 else pa.int64()
    if types.is_struct(kind):
        return pa.struct([field.with_type(_simple(field.type, times)) for field in kind])
    if types.is_map(kind):
        return pa.map_(_simple(kind.key_type, times), _simple(kind.item_type, times))
    if types.is_list(kind) or types.is_large_list(kind):
        as_list = pa.list_ if types.is_list(kind) else pa.large_list
        return as_list(_simple(kind.value_type, times))
    return kind


def _simple_time(kind: pa.DataType) -> pa.DataType:
    """Return a type of time without nanoseconds and without the name of a zone."""
    unit = "us" if getattr(kind, "unit", "") == "ns" else getattr(kind, "unit", "")
    if pa.types.is_timestamp(kind):
        return pa.timestamp(unit, None if kind.tz is None else _UTC)
    if pa.types.is_time64(kind):
        return pa.time64("us")
    return pa.duration(unit) if pa.types.is_duration(kind) else kind
