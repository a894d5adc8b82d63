"""ClickHouse's Native format comes in, Python values go out; Arrow tables come in, it goes out: by the driver, with three corrections.

The driver reads times through a float, which is wrong by a microsecond from the year 2242 on, and naive where a column has no time
zone. It reads either all strings as text or none. And it packs numbers and UUIDs one by one, which takes more time than all the rest of
an insert. The corrections apply to marked contexts only: other users of the driver in this process see nothing of them.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import clickhouse_driver
import numpy as np
import pyarrow as pa
from clickhouse_driver.block import ColumnOrientedBlock
from clickhouse_driver.bufferedreader import BufferedSocketReader
from clickhouse_driver.columns import service
from clickhouse_driver.streams import native as streams

from transforms.io.clickhouse import blocks

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
_MARK = "sluice_text"
_BUFFER = 1 << 20

Items = Sequence[Any]


class Driver(clickhouse_driver.Client):
    """The driver, which reads values as `Client` promises, and inserts Arrow tables: `insert`."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, settings={"strings_as_bytes": True, "namedtuple_as_json": False}, **options)
        self.read_text(False)

    def read_text(self, text: bool) -> None:
        """Read String as str from now on if `text`, else as bytes."""
        setattr(self.connection.context, _MARK, text)

    def insert(self, table: str, rows: pa.Table, settings: dict[str, Any], query_id: str) -> None:
        """Insert a table as one block."""
        self.execute(f"INSERT INTO {table} ({blocks.names(rows)}) VALUES", (rows,), settings=settings, query_id=query_id)

    def send_data(self, sample_block: Any, data: tuple[pa.Table], types_check: bool = False, columnar: bool = False) -> int:  # noqa: ARG002
        """Send the data of an insert; the driver calls it when the server has told the types of the columns."""
        (rows,) = data
        columns = sample_block.columns_with_types
        block = ColumnOrientedBlock(columns, [blocks.values(rows[name], kind) for name, kind in columns])
        for part in (block, ColumnOrientedBlock()):
            self.connection.send_data(part)
            self.receive_profile_events()
        return int(rows.num_rows)


def decode(native: bytes, text: bool) -> tuple[list[str], list[list[Any]]]:
    """Return the names and the values of the columns of a result in Native format; both empty if it has no blocks."""
    source = _Bytes(native)
    reader = BufferedSocketReader(source, _BUFFER)
    stream = streams.BlockInputStream(reader, context(text))
    names: list[str] = []
    columns: list[list[Any]] = []
    while source.left or reader.position < reader.current_buffer_size:
        block = stream.read()
        names = names or [name for name, _ in block.columns_with_types]
        columns = columns or [[] for _ in names]
        for column, values in zip(columns, block.get_columns(), strict=True):
            column.extend(values)
    return names, columns


def as_bytes(value: str) -> bytes:
    """Return the bytes of a String that `Client.rows` returned."""
    return value.encode("utf-8", "surrogateescape")


class _Bytes:
    """Bytes that are read like a socket."""

    def __init__(self, data: bytes) -> None:
        self.left = memoryview(data)

    def recv_into(self, buffer: bytearray) -> int:
        size = min(len(buffer), len(self.left))
        buffer[:size] = self.left[:size]
        self.left = self.left[size:]
        return size


def context(text: bool) -> Any:
    """Return a context of the driver for blocks as they stand in files: revision 0. String is read as str if `text`, else as bytes."""
    driver = Driver("unused")
    driver.read_text(text)
    driver.connection.context.server_info = SimpleNamespace(used_revision=0, get_timezone=lambda: "UTC")
    return driver.connection.context


def _times(column: Any, items: Items, nulls_map: Items | None = None) -> Items:
    scale: int = getattr(column, "scale", 0)
    return _with_nulls(tuple(_time(item * 10**6 // 10**scale) for item in items), nulls_map)


def _time(microseconds: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        return _FIRST if microseconds < 0 else _LAST


def _texts(items: Items, nulls_map: Items | None = None) -> Items:
    return _with_nulls(tuple(item.decode("utf-8", "surrogateescape") for item in items), nulls_map)


def _with_nulls(values: Items, nulls_map: Items | None) -> Items:
    if nulls_map is None:
        return values
    return tuple(None if is_null else value for value, is_null in zip(values, nulls_map, strict=True))


_driver_string_column = service.create_string_column
_driver_time_column = service.create_datetime_column


def _string_column(spec: str, options: dict[str, Any]) -> Any:
    column = _driver_string_column(spec, options)
    if spec == "String" and getattr(options["context"], _MARK, False):
        column.after_read_items = _texts
    return column


def _time_column(spec: str, options: dict[str, Any]) -> Any:
    column = _driver_time_column(spec, options)
    if hasattr(options["context"], _MARK):
        column.after_read_items = partial(_times, column)
    return column


_driver_write_column = streams.write_column


def _write_column(context: Any, name: str, spec: str, items: Any, buffer: Any, types_check: bool = False) -> None:
    if isinstance(items, np.ndarray) and hasattr(context, _MARK):
        buffer.write(items.tobytes())
    else:
        _driver_write_column(context, name, spec, items, buffer, types_check)


service.create_string_column = _string_column
service.create_datetime_column = _time_column
streams.write_column = _write_column
