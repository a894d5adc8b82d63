"""Arrow tables come in, what the two engines take goes out: vectorised where it matters."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Packed = NDArray[Any]
Values = Packed | list[Any]

_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
# Types that are the same bytes in both.
_LAYOUTS = {
    pa.bool_(): "Bool",
    pa.int8(): "Int8",
    pa.int16(): "Int16",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.uint8(): "UInt8",
    pa.uint16(): "UInt16",
    pa.uint32(): "UInt32",
    pa.uint64(): "UInt64",
    pa.float32(): "Float32",
    pa.float64(): "Float64",
}


def refuse_nulls(rows: pa.Table) -> None:
    """Raise if there is a null: no column of ours has any, and engines differ in what they make of one.

    Raises:
        ValueError: names the column.
    """
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        if column.null_count:
            raise ValueError(f"column {name}: {column.null_count} nulls in {len(column)} rows")


def names(rows: pa.Table) -> str:
    """Return the quoted names of the columns, separated by commas."""
    return ", ".join(quoted(name) for name in rows.column_names)


def quoted(name: str) -> str:
    """Return an identifier in back-quotes."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def may_be_uuids(rows: pa.Table) -> bool:
    """Return whether there is a column that is stored as a UUID if its target is one."""
    return pa.binary(16) in rows.schema.types


def is_uuid(column: pa.ChunkedArray, target: str) -> bool:
    """Return whether an Arrow column holds the bytes of UUIDs for a ClickHouse column of type `target`."""
    return target == "UUID" and bool(column.type == pa.binary(16))


def swapped(column: pa.ChunkedArray) -> pa.Array:
    """Return UUIDs as ClickHouse has them in memory: each half of eight bytes reversed."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(column), [None, pa.py_buffer(_halves(column))])


def values(column: pa.ChunkedArray, target: str) -> Values:
    """Return a column as it is sent for a ClickHouse column of type `target`.

    An array has the bytes of the Native format; a list has what the driver makes these bytes of.
    """
    if is_uuid(column, target):
        return _halves(column)
    if pa.types.is_timestamp(column.type) and (found := re.search(r"DateTime(?:64\((\d))?", target)):
        return _ticks(column, target, int(found[1] or 0))
    if _LAYOUTS.get(column.type) == target or (column.type == pa.uint32() and target.startswith("DateTime(")):
        return np.asarray(column.to_numpy())
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    return list(column.to_pylist())


def _halves(column: pa.ChunkedArray) -> Packed:
    """Return the halves of UUIDs as numbers, two a row."""
    data = column.combine_chunks()
    return np.frombuffer(data.buffers()[1], ">u8", 2 * len(data), 16 * data.offset).astype("<u8").reshape(-1, 2)


def _ticks(column: pa.ChunkedArray, target: str, scale: int) -> Values:
    """Return times since 1970 in units of 10 ** -scale seconds, the rest cut off as ClickHouse does."""
    unit = _UNITS[column.type.unit]
    ticks = column.cast(pa.int64())
    if unit == scale and target.startswith("DateTime64"):
        return np.asarray(ticks.to_numpy())
    if scale >= unit:
        return [tick * 10 ** (scale - unit) for tick in ticks.to_pylist()]
    return [_cut(tick, 10 ** (unit - scale)) for tick in ticks.to_pylist()]


def _cut(tick: int, unit: int) -> int:
    return tick // unit if tick >= 0 else -(-tick // unit)
