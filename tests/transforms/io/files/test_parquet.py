import tracemalloc
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import Unavailable
from schemas.reasons import Reason
from tests.transforms.io.files.reading import ARRIVAL, Read, payloads, ranges, read
from transforms.io.files import parquet
from transforms.io.files.pieces import KEPT_BYTES
from transforms.io.files.read import read_range
from transforms.io.files.source import Source

UNREADABLE = Reason.UNREADABLE_FILE.value
BAD_TIME = 1 << 61


def put(folder: Path, table: pa.Table, **options: Any) -> Path:
    path = folder / "a.parquet"
    pq.write_table(table, path, **options)
    return path


def bodies(*texts: bytes) -> pa.Table:
    return pa.table({"body": pa.array(texts, pa.binary())})


def field(folder: Path, column: pa.Array, **options: Any) -> list[Any]:
    """Return what a column becomes in messages."""
    found = read(put(folder, pa.table({"field": column}), **options))
    assert not any(one.rejected for one in found)
    return [msgspec.json.decode(one.payload).get("field", "left out") for one in found]


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.binary(max_size=12), max_size=20),
    group=st.integers(1, 7),
    range_bytes=st.integers(1, 400),
    batch=st.integers(1, 6),
    codec=st.sampled_from(["none", "zstd", "snappy", "gzip", "lz4", "brotli"]),
)
def test_any_ranges_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, texts: list[bytes], group: int, range_bytes: int, batch: int, codec: str
) -> None:
    path = put(tmp_path_factory.getbasetemp(), bodies(*texts), row_group_size=group, compression=codec)
    found = read(path, range_bytes, batch_size=batch)
    assert found == [Read(text, number) for number, text in enumerate(texts)]


@settings(max_examples=80, deadline=None)
@given(data=st.data(), range_bytes=st.integers(50, 700))
def test_ranges_of_a_broken_file_give_the_same_too(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, range_bytes: int) -> None:
    table = pa.table({"event": ["a", "b", None] * 4, "properties": ['{"a":1}'] * 12, "at": pa.array(range(12), pa.timestamp("us"))})
    path = put(tmp_path_factory.getbasetemp(), table, row_group_size=3, write_page_checksum=data.draw(st.booleans()))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(4, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) - 1, len(content) // 2]))])
    assert read(path, range_bytes) == read(path)


def test_a_row_group_belongs_to_the_range_of_its_first_byte(tmp_path: Path) -> None:
    path = put(tmp_path, bodies(*[b"x" * 50] * 9), row_group_size=3, compression="none", use_dictionary=False)
    second = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    (whole,) = ranges(path)

    def rows(start: int, end: int) -> list[int]:
        part = msgspec.structs.replace(whole, start=start, end=end)
        return [offset for messages in read_range(part) for offset in messages.offsets]

    assert rows(0, second) == [0, 1, 2]
    assert rows(second, second + 1) == [3, 4, 5]
    assert rows(second + 1, whole.size) == [6, 7, 8]


def test_an_empty_file(tmp_path: Path) -> None:
    assert read(put(tmp_path, bodies()), range_bytes=9) == []


def test_a_row_group_is_read_in_batches(tmp_path: Path) -> None:
    (part,) = ranges(put(tmp_path, bodies(*[b"x" * 1_000] * 5_000)))
    assert [len(messages.payloads) for messages in read_range(part)] == [2_000, 2_000, 1_000]
    assert max(len(messages.payloads) for messages in read_range(part, batch_bytes=10_000)) <= 10


# Broken files


@pytest.mark.parametrize("cut", [1, 8, 500])
def test_a_broken_footer_is_one_rejected_message(tmp_path: Path, cut: int) -> None:
    path = put(tmp_path, bodies(*[b"%d" % number for number in range(100)]))
    content = path.read_bytes()[:-cut]
    path.write_bytes(content)
    assert read(path, range_bytes=100) == [Read(content, 0, UNREADABLE)]


def test_what_is_kept_of_a_broken_file_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1" + bytes(3_000_000))
    assert read(path, range_bytes=1 << 20) == [Read(bytes(KEPT_BYTES), 0, UNREADABLE)]


def test_a_broken_row_group_costs_only_itself(tmp_path: Path) -> None:
    texts = [b"%d" % number * 100 for number in range(9)]
    path = put(tmp_path, bodies(*texts), row_group_size=3, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[content.index(texts[4]) + 50] ^= 1
    path.write_bytes(content)
    found = read(path, range_bytes=400)
    assert payloads(found) == [*texts[:3], *texts[6:]]
    (broken,) = (one for one in found if one.rejected)
    assert (broken.offset, broken.rejected) == (3, UNREADABLE)
    assert texts[3] in broken.payload


def test_rows_before_a_broken_page_are_good(tmp_path: Path) -> None:
    texts = [b"%d" % (number % 10) * 1_000 for number in range(100)]
    options = {"use_dictionary": False, "write_page_checksum": True, "data_page_size": 10_000, "write_batch_size": 5, "compression": "none"}
    path = put(tmp_path, bodies(*texts), **options)
    content = bytearray(path.read_bytes())
    content[60_000] ^= 1
    path.write_bytes(content)
    *good, broken = read(path, batch_size=5)
    assert 40 <= len(good) < 60
    assert payloads(good) == texts[: len(good)]
    assert (broken.offset, broken.rejected) == (len(good), UNREADABLE)


@pytest.mark.parametrize("whole_group", [0, 1 << 30])
def test_an_outage_is_not_taken_for_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole_group: int) -> None:
    path = put(tmp_path, bodies(*[b"x" * 1_000] * 3_000), compression="none", use_dictionary=False)
    (part,) = ranges(path)
    as_it_is, left = Source.read, 1_000

    def fail(self: Source, size: int) -> bytes:
        nonlocal left
        left -= 1
        if left < 0:
            raise Unavailable("no answer")
        return as_it_is(self, size)

    monkeypatch.setattr(Source, "read", fail)
    monkeypatch.setattr(parquet, "_WHOLE_GROUP_BYTES", whole_group)
    list(read_range(part))
    for reads in range(1_000 - left):
        left = reads
        with pytest.raises(Unavailable, match="no answer"):
            list(read_range(part))


# Rows


@pytest.mark.parametrize("name", ["body", "message", "payload", "value"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.string(), pa.large_string()])
def test_raw_messages_are_taken_out_of_their_envelope(tmp_path: Path, name: str, kind: pa.DataType) -> None:
    table = pa.table({"key": [1, 2, 3], name: pa.array(["ü", None, "b"], kind)})
    assert payloads(read(put(tmp_path, table))) == ["ü".encode(), b"", b"b"]


def test_repeated_messages(tmp_path: Path) -> None:
    table = pa.table({"body": pa.array(["a", "b", "a"]).dictionary_encode()})
    assert payloads(read(put(tmp_path, table))) == [b"a", b"b", b"a"]


def test_an_event_is_no_envelope(tmp_path: Path) -> None:
    assert payloads(read(put(tmp_path, pa.table({"event": ["x"], "value": ["1"]})))) == [b'{"event":"x","value":"1"}']


STRUCT = pa.struct({"a": pa.int8(), "b": pa.string(), "t": pa.timestamp("ns")})
MICROS = 1_700_000_001_500_000


@pytest.mark.parametrize(
    "now",
    [
        pa.array(["2023-11-14T22:13:21.5Z"]),
        pa.array(["2023-11-14T23:13:21.5+01:00"]),
        pa.array([MICROS], pa.timestamp("us")),
        pa.array([MICROS], pa.timestamp("us", tz="Europe/Berlin")),
        pa.array([MICROS // 1_000], pa.timestamp("ms", tz="UTC")),
        pa.array([MICROS * 1_000], pa.timestamp("ns", tz="UTC")),
        pa.array([MICROS]),
        pa.array([MICROS // 1_000]),
    ],
)
def test_the_arrival_of_a_raw_message(tmp_path: Path, now: pa.Array) -> None:
    (found,) = read(put(tmp_path, pa.table({"body": [b"a"], "now": now, "at": [1]})))
    assert found == Read(b"a", 0, "", MICROS)


@pytest.mark.parametrize("now", [pa.array(["soon", None]), pa.array([BAD_TIME, None], pa.timestamp("us")), pa.array([-1, 0])])
def test_an_arrival_that_cannot_be_is_that_of_the_job(tmp_path: Path, now: pa.Array) -> None:
    first, second = read(put(tmp_path, pa.table({"body": [b"a", b"b"], "now": now})))
    assert second.arrival == ARRIVAL
    assert first.arrival in (ARRIVAL, BAD_TIME)


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array(["ü", None]), ["ü", "left out"]),
        (pa.array([b"\xff", b"a"]), ["/w==", "a"]),
        (pa.array(["a", "b"]).dictionary_encode(), ["a", "b"]),
        (pa.array([1.5, float("inf")]), [1.5, None]),
        (pa.array([Decimal("12.30")]), [12.3]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([datetime(2026, 1, 2, 3, 4, 5, 6)], pa.timestamp("us")), ["2026-01-02T03:04:05.000006Z"]),
        (pa.array([datetime(2026, 1, 2, tzinfo=UTC)], pa.timestamp("s", tz="Asia/Tokyo")), ["2026-01-02T00:00:00.000Z"]),
        (pa.array([1_999, None], pa.timestamp("ns")), ["1970-01-01T00:00:00.000001Z", "left out"]),
        (pa.array([None], pa.timestamp("ms")), ["left out"]),
        (pa.array([date(2026, 1, 2)]), ["2026-01-02"]),
        (pa.array([time(3, 4, 5)], pa.time64("ns")), ["03:04:05"]),
        (pa.array([timedelta(seconds=90)]), ["PT90S"]),
        (pa.array([[("a", 1), ("b", None)], []], pa.map_(pa.string(), pa.int64())), [{"a": 1}, {}]),
        (pa.array([[1, None]]), [[1, None]]),
        (pa.array([{"a": None, "b": "x", "t": 1}], STRUCT), [{"b": "x", "t": "1970-01-01T00:00:00Z"}]),
        (pa.array([["a"], None], pa.large_list(pa.large_string())), [["a"], "left out"]),
        (pa.array([UUID(int=1).bytes], pa.uuid()), [str(UUID(int=1))]),
    ],
)
def test_values(tmp_path: Path, column: pa.Array, expected: list[Any]) -> None:
    assert field(tmp_path, column) == expected


def test_old_times_of_96_bits(tmp_path: Path) -> None:
    column = pa.array([datetime(2026, 1, 2, tzinfo=UTC)], pa.timestamp("us", tz="UTC"))
    assert field(tmp_path, column, use_deprecated_int96_timestamps=True) == ["2026-01-02T00:00:00.000000Z"]


def test_times_that_cannot_be_are_numbers_and_cost_no_other(tmp_path: Path) -> None:
    times = pa.array([BAD_TIME, 0], pa.timestamp("us", tz="UTC"))
    assert field(tmp_path, times) == [BAD_TIME, "1970-01-01T00:00:00Z"]
    assert field(tmp_path, pa.array([1 << 30, 0], pa.date32())) == [1 << 30, "1970-01-01"]
    nested = pa.array([{"at": BAD_TIME}, {"at": 0}], pa.struct({"at": pa.timestamp("us")}))
    assert field(tmp_path, nested) == [{"at": BAD_TIME}, {"at": "1970-01-01T00:00:00Z"}]


def test_text_that_is_not_utf_8_costs_no_other(tmp_path: Path) -> None:
    column = pa.array([b"\xff", b"a"]).view(pa.string())
    assert field(tmp_path, column) == ["/w==", "a"]


def test_rows_become_events(tmp_path: Path) -> None:
    uuid = pa.array([UUID(int=1).bytes], pa.binary(16))
    table = pa.table({"uuid": uuid, "event": ["x"], "properties": ['{"a": [1]}'], "data": ['{"b":2}']})
    (payload,) = payloads(read(put(tmp_path, table)))
    assert payload == b'{"uuid":"00000000-0000-0000-0000-000000000001","event":"x","data":"{\\"b\\":2}","properties":{"a": [1]}}'


def test_large_row_groups_are_never_in_memory_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [bytes([number % 256]) * 10_000 for number in range(3_000)]
    options = {"use_dictionary": False, "compression": "none", "data_page_size": 100_000, "write_batch_size": 10}
    path = put(tmp_path, bodies(*texts), **options)
    monkeypatch.setattr(parquet, "_WHOLE_GROUP_BYTES", 1 << 20)
    (part,) = ranges(path)
    pool = pa.default_memory_pool()
    before, arrow = pool.bytes_allocated(), 0
    tracemalloc.start()
    for _ in read_range(part, batch_bytes=1 << 20):
        arrow = max(arrow, pool.bytes_allocated() - before)
    python = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert arrow + python < 10_000_000
