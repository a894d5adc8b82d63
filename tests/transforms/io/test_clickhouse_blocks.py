from uuid import UUID

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


def test_ids_become_uuids() -> None:
    made = blocks.values(column(list(IDS), pa.binary(16)), "UUID")

    assert made == [UUID(bytes=one) for one in IDS]
    assert [str(one) for one in made] == [str(UUID(bytes=one)) for one in IDS]
    assert blocks.values(column(list(IDS), pa.binary(16)), "FixedString(16)") == IDS


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
    assert blocks.values(column(ticks, pa.timestamp(unit, "UTC")), target) == expected


def test_text_becomes_bytes() -> None:
    assert blocks.values(column(["é", "a\0"], pa.string()), "String") == ["é".encode(), b"a\0"]
    assert blocks.values(column(["é"], pa.large_string()), "LowCardinality(String)") == ["é".encode()]


def test_values_are_new_each_time() -> None:
    """The driver writes its own form of some values into the list it gets: a second attempt must not see it."""
    numbers = column([1, 2], pa.int64())

    blocks.values(numbers, "Int64").clear()

    assert blocks.values(numbers, "Int64") == [1, 2]


def test_names_are_quoted() -> None:
    assert blocks.names(pa.table({"a": [1], "b`\\": [1]})) == "`a`, `b\\`\\\\`"


def test_nulls_are_refused() -> None:
    blocks.refuse_nulls(pa.table({"a": [1]}))
    with pytest.raises(ValueError, match="column b: 2 nulls in 3 rows"):
        blocks.refuse_nulls(pa.table({"a": [1, 2, 3], "b": [None, 1, None]}))
