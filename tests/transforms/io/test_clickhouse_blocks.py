import struct

import numpy as np
import pyarrow as pa
import pytest

from transforms.io.clickhouse import blocks

IDS = [bytes(range(16)), b"\xff" * 16, b"\x80" + bytes(15), bytes(15) + b"\x01"]


def column(values: list[object], kind: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


def test_halves_of_ids_are_swapped() -> None:
    swapped = blocks.swapped(column(list(IDS), pa.binary(16)))

    assert swapped.to_pylist() == [one[:8][::-1] + one[8:][::-1] for one in IDS]
    assert swapped.type == pa.binary(16)


@pytest.mark.parametrize("offset", [0, 1, 3, 4])
def test_halves_of_sliced_and_chunked_ids_are_swapped(offset: int) -> None:
    ids = pa.array(IDS, pa.binary(16))
    chunked = pa.chunked_array([ids.slice(offset), ids.slice(0, 0), ids.slice(1, 2)], pa.binary(16))

    assert blocks.swapped(chunked).to_pylist() == [one[:8][::-1] + one[8:][::-1] for one in IDS[offset:] + IDS[1:3]]


def test_ids_for_a_uuid_are_sent_swapped_and_others_as_they_are() -> None:
    ids = column(list(IDS), pa.binary(16))

    assert sent(blocks.values(ids, "UUID")) == b"".join(one[:8][::-1] + one[8:][::-1] for one in IDS)
    assert blocks.values(ids, "FixedString(16)") == IDS


def sent(values: blocks.Values) -> bytes:
    assert isinstance(values, np.ndarray)
    return values.tobytes()


@pytest.mark.parametrize(
    ("kind", "target", "values", "expected"),
    [
        (pa.int64(), "Int64", [-1, 2], "<qq"),
        (pa.uint64(), "UInt64", [2**64 - 1, 2], "<QQ"),
        (pa.uint32(), "UInt32", [2**32 - 1, 2], "<II"),
        (pa.uint32(), "DateTime('UTC')", [2**32 - 1, 2], "<II"),
        (pa.int8(), "Int8", [-128, 127], "<bb"),
        (pa.float64(), "Float64", [1.5, -2.5], "<dd"),
        (pa.bool_(), "Bool", [True, False], "<??"),
    ],
)
def test_what_is_the_same_in_both_is_sent_as_it_is(kind: pa.DataType, target: str, values: list[object], expected: str) -> None:
    assert sent(blocks.values(column(values, kind), target)) == struct.pack(expected, *values)
    sliced = pa.chunked_array([pa.array([values[1], *values], kind).slice(1, 1), pa.array([values[1]], kind)])
    assert sent(blocks.values(sliced, target)) == struct.pack(expected, *values)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (pa.int64(), "UInt64"),
        (pa.int64(), "Nullable(Int64)"),
        (pa.int8(), "Enum8('a' = 1)"),
        (pa.uint8(), "Bool"),
        (pa.uint32(), "DateTime64(0, 'UTC')"),
    ],
)
def test_what_differs_is_left_to_the_driver(kind: pa.DataType, target: str) -> None:
    assert blocks.values(column([1], kind), target) == [1]


@pytest.mark.parametrize(
    ("unit", "target", "ticks", "expected"),
    [
        ("us", "DateTime64(6, 'UTC')", [-1, 2**62, -(2**62)], [-1, 2**62, -(2**62)]),
        ("us", "DateTime64(3, 'UTC')", [1_999, -1_999, 2**60 + 999], [1, -1, (2**60 + 999) // 1000]),
        ("us", "DateTime('UTC')", [1_999_999, 0], [1, 0]),
        ("us", "DateTime", [1_999_999], [1]),
        ("ms", "DateTime64(6)", [7], [7_000]),
        ("s", "Nullable(DateTime64(9, 'UTC'))", [7], [7_000_000_000]),
    ],
)
def test_times_become_ticks_of_the_column(unit: str, target: str, ticks: list[object], expected: list[int]) -> None:
    assert list(blocks.values(column(ticks, pa.timestamp(unit, "UTC")), target)) == expected


def test_text_becomes_bytes() -> None:
    assert blocks.values(column(["é", "a\0"], pa.string()), "String") == ["é".encode(), b"a\0"]
    assert blocks.values(column(["é"], pa.large_string()), "LowCardinality(String)") == ["é".encode()]


def test_names_are_quoted() -> None:
    assert blocks.names(pa.table({"a": [1], "b`\\": [1]})) == "`a`, `b\\`\\\\`"


def test_nulls_are_refused() -> None:
    blocks.refuse_nulls(pa.table({"a": [1]}))
    with pytest.raises(ValueError, match="column b: 2 nulls in 3 rows"):
        blocks.refuse_nulls(pa.table({"a": [1, 2, 3], "b": [None, 1, None]}))
