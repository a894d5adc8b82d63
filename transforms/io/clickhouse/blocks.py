"""Arrow tables come in, what the two engines take goes out: vectorised where it matters."""

import re
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa

_UNITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}


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


def is_uuid(column: pa.ChunkedArray, target: str) -> bool:
    """Return whether an Arrow column holds the bytes of UUIDs for a ClickHouse column of type `target`."""
    return target == "UUID" and bool(column.type == pa.binary(16))


def swapped(column: pa.ChunkedArray) -> pa.Array:
    """Return UUIDs as ClickHouse has them in memory: each half of eight bytes reversed."""
    data = column.combine_chunks()
    halves = np.frombuffer(data.buffers()[1], ">u8", 2 * len(data), 16 * data.offset)
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), len(data), [None, pa.py_buffer(halves.astype("<u8"))])


def values(column: pa.ChunkedArray, target: str) -> list[Any]:
    """Return a column as the driver takes it for a ClickHouse column of type `target`: new on each call, since the driver changes it."""
    if is_uuid(column, target):
        return list(_uuids(column.to_pylist()))
    if pa.types.is_timestamp(column.type) and (found := re.search(r"DateTime(?:64\((\d))?", target)):
        return _ticks(column, int(found[1] or 0))
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary())
    return list(column.to_pylist())


def _uuids(items: Iterable[bytes]) -> Iterable[uuid.UUID]:
    """Return UUIDs without the checks of their constructor, which take three times as long as all other columns of an event."""
    new, set_int, from_bytes = uuid.UUID.__new__, uuid.UUID.__dict__["int"].__set__, int.from_bytes
    for item in items:
        one = new(uuid.UUID)
        set_int(one, from_bytes(item, "big"))
        yield one


def _ticks(column: pa.ChunkedArray, scale: int) -> list[int]:
    """Return times since 1970 in units of 10 ** -scale seconds, the rest cut off as ClickHouse does."""
    unit = _UNITS[column.type.unit]
    ticks = column.cast(pa.timestamp(column.type.unit)).cast(pa.int64())
    if unit == scale:
        return list(ticks.to_pylist())
    up, down = 10 ** max(scale - unit, 0), 10 ** max(unit - scale, 0)
    return [tick * up if down == 1 else int(tick / down) if abs(tick) < 2**53 else tick // down for tick in ticks.to_pylist()]
