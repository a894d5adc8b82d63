from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import fastavro
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.reasons import Reason
from tests.transforms.io.files.avro_files import CODECS, SYNC, block, container, encoded, header, record, stored_block
from tests.transforms.io.files.reading import ARRIVAL, Read, payloads, read
from transforms.io.files.avro import OFFSET_SHIFT
from transforms.io.files.pieces import KEPT_BYTES, Sizes

UNREADABLE = Reason.UNREADABLE_FILE.value
BODY = record(body="bytes")
START = len(header(BODY))  # of the first block


def put(folder: Path, content: bytes) -> Path:
    path = folder / "a.avro"
    path.write_bytes(content)
    return path


def bodies(*texts: bytes) -> list[dict[str, bytes]]:
    return [{"body": text} for text in texts]


def messages(folder: Path, schema: Any, *records: Any) -> list[bytes]:
    found = read(put(folder, container(schema, [list(records)])))
    assert not any(one.rejected for one in found)
    return payloads(found)


def message(folder: Path, kind: Any, value: Any) -> Any:
    """Return what a field becomes in a message."""
    (payload,) = messages(folder, record(field=kind), {"field": value})
    return msgspec.json.decode(payload).get("field", "left out")


@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(st.lists(st.binary(max_size=12), max_size=6), max_size=6),
    codec=st.sampled_from(sorted(CODECS)),
    range_bytes=st.integers(1, 200),
    size=st.integers(1, 50),
)
def test_any_ranges_give_the_same_records(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[bytes]], codec: str, range_bytes: int, size: int
) -> None:
    path = put(tmp_path_factory.getbasetemp(), container(BODY, [bodies(*texts) for texts in blocks], codec))
    found = read(path, range_bytes, Sizes(block=size), batch_size=3)
    assert payloads(found) == [text for texts in blocks for text in texts]
    assert found == read(path)
    assert all(one.offset < other.offset for one, other in pairwise(found))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), range_bytes=st.integers(1, 200), size=st.integers(1, 50), codec=st.sampled_from(["null", "deflate"]))
def test_ranges_of_a_broken_file_give_the_same_too(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, range_bytes: int, size: int, codec: str
) -> None:
    texts = [[b"%d-%d" % (number, place) for place in range(4)] for number in range(6)]
    content = bytearray(container(BODY, [bodies(*some) for some in texts], codec))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(4, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    end = data.draw(st.integers(5, len(content)))
    path = put(tmp_path_factory.getbasetemp(), bytes(content[:end]))
    assert read(path, range_bytes, Sizes(block=size)) == read(path)


def test_offsets_are_blocks_and_places(tmp_path: Path) -> None:
    second = START + len(block(BODY, bodies(b"a", b"b"))) + len(SYNC)
    found = read(put(tmp_path, container(BODY, [bodies(b"a", b"b"), bodies(b"c")])))
    assert [(one.offset >> OFFSET_SHIFT, one.offset % (1 << OFFSET_SHIFT)) for one in found] == [(START, 0), (START, 1), (second, 0)]


def test_files_of_fastavro(tmp_path: Path) -> None:
    texts = [b"%d" % number for number in range(5_000)]
    for codec in ("null", "deflate", "bzip2", "xz"):
        with (tmp_path / "a.avro").open("wb") as file:
            fastavro.writer(file, BODY, bodies(*texts), codec, sync_interval=1_000)
        assert payloads(read(tmp_path / "a.avro", range_bytes=700)) == texts


def test_a_file_without_a_codec_or_records(tmp_path: Path) -> None:
    assert payloads(read(put(tmp_path, header(BODY, codec=None) + block(BODY, bodies(b"a")) + SYNC))) == [b"a"]
    assert read(put(tmp_path, header(BODY)), range_bytes=7) == []
    assert read(put(tmp_path, header(BODY) + block(BODY, []) + SYNC)) == []


# Broken files


def test_a_block_that_cannot_be_decompressed_costs_only_itself(tmp_path: Path) -> None:
    good, bad, last = (block(BODY, bodies(text * 50), "deflate") for text in (b"a", b"b", b"c"))
    bad = bad[:-3] + b"\xff\xff\xff"
    found = read(put(tmp_path, header(BODY, "deflate") + good + SYNC + bad + SYNC + last + SYNC), range_bytes=30)
    assert [one.payload for one in found] == [b"a" * 50, bad, b"c" * 50]
    assert [one.rejected for one in found] == ["", UNREADABLE, ""]
    assert found[1].offset == START_DEFLATE + len(good) + len(SYNC) << OFFSET_SHIFT


START_DEFLATE = len(header(BODY, "deflate"))


@pytest.mark.parametrize("codec", sorted(set(CODECS) - {"null"}))
def test_no_codec_fails_on_garbage(tmp_path: Path, codec: str) -> None:
    for garbage in (b"", b"\0", b"\xff" * 40, CODECS[codec](b"xyz" * 9)[:-6]):
        broken = encoded("long", 3) + encoded("bytes", garbage)
        found = read(put(tmp_path, header(BODY, codec) + broken + SYNC + block(BODY, bodies(b"ok"), codec) + SYNC))
        assert [(one.payload, one.rejected) for one in found] == [(broken, UNREADABLE), (b"ok", "")]


def test_snappy_blocks_are_checked(tmp_path: Path) -> None:
    broken = bytearray(block(BODY, bodies(b"abcdef"), "snappy"))
    broken[-6] ^= 1
    (found,) = read(put(tmp_path, header(BODY, "snappy") + broken + SYNC))
    assert found.rejected == UNREADABLE


def test_records_before_the_first_that_is_broken_are_good(tmp_path: Path) -> None:
    data = encoded(BODY, {"body": b"a"}) + encoded(BODY, {"body": b"b"}) + b"\xff\xff"
    broken = stored_block(data, 3)
    found = read(put(tmp_path, header(BODY) + broken + SYNC + block(BODY, bodies(b"c")) + SYNC))
    assert [(one.payload, one.rejected) for one in found] == [(b"a", ""), (b"b", ""), (broken, UNREADABLE), (b"c", "")]
    assert len({one.offset for one in found}) == 4


@pytest.mark.parametrize("count", [1, 3, 1 << 40, -1])
def test_a_wrong_number_of_records_is_noticed(tmp_path: Path, count: int) -> None:
    broken = block(BODY, bodies(b"a", b"b"), count=count)
    *_, rejected, last = read(put(tmp_path, header(BODY) + broken + SYNC + block(BODY, bodies(b"c")) + SYNC))
    assert (rejected.payload, rejected.rejected, last.payload) == (broken, UNREADABLE, b"c")


@pytest.mark.parametrize("size", [0, 1, 5, 1 << 20, 1 << 60, -1])
def test_a_wrong_size_costs_only_its_block(tmp_path: Path, size: int) -> None:
    broken = encoded("long", 1) + encoded("long", size) + encoded(BODY, {"body": b"abc"})
    content = header(BODY) + broken + SYNC + block(BODY, bodies(b"c")) + SYNC
    found = read(put(tmp_path, content), range_bytes=20)
    assert [(one.payload, one.rejected) for one in found] == [(broken, UNREADABLE), (b"c", "")]


def test_a_damaged_sync_marker_costs_nothing(tmp_path: Path) -> None:
    blocks = [block(BODY, bodies(text)) for text in (b"a", b"b", b"c")]
    content = header(BODY) + blocks[0] + SYNC[:-1] + b"!" + blocks[1] + SYNC + blocks[2] + SYNC
    for range_bytes in (1, 20, 1 << 20):
        assert payloads(read(put(tmp_path, content), range_bytes)) == [b"a", b"b", b"c"]
        assert len(read(put(tmp_path, content), range_bytes)) == 3


@pytest.mark.parametrize("cut", [1, 16, 17, 20])
def test_a_file_that_was_cut_short(tmp_path: Path, cut: int) -> None:
    content = container(BODY, [bodies(b"a", b"b"), bodies(b"cdef" * 5)])[:-cut]
    *good, last = read(put(tmp_path, content), range_bytes=9)
    assert payloads(good)[:2] == [b"a", b"b"]
    assert (last.payload, last.rejected) == ((b"cdef" * 5, "") if cut <= 16 else (content[-39 + cut :], UNREADABLE))


@pytest.mark.parametrize(
    "head",
    [
        b"Obj\x01",
        header(BODY)[:-1],
        header(BODY, "lz77"),
        header("nonsense"),
        header({"type": "record"}),
        header(BODY).replace(b"record", b'rec"rd'),
    ],
)
def test_a_broken_header_is_one_rejected_message(tmp_path: Path, head: bytes) -> None:
    assert read(put(tmp_path, head), range_bytes=10) == [Read(head, 0, UNREADABLE)]


def test_what_is_kept_of_garbage_is_bounded(tmp_path: Path) -> None:
    content = header(BODY) + b"\xff" * 3_000_000 + SYNC + block(BODY, bodies(b"a")) + SYNC
    for sizes in (Sizes(), Sizes(avro_block=1_500_000)):
        rejected, last = read(put(tmp_path, content), range_bytes=700_000, sizes=sizes)
        assert rejected == Read(b"\xff" * KEPT_BYTES, START << OFFSET_SHIFT, UNREADABLE)
        assert last.payload == b"a"


@pytest.mark.parametrize("codec", sorted(CODECS))
def test_a_block_that_becomes_too_large_is_rejected(tmp_path: Path, codec: str) -> None:
    content = container(BODY, [bodies(b"a"), bodies(bytes(2_000)), bodies(b"b")], codec)
    found = read(put(tmp_path, content), sizes=Sizes(avro_block=1_000))
    assert [one.rejected for one in found] == ["", UNREADABLE, ""]


# Records


@pytest.mark.parametrize("name", ["body", "message", "payload", "value"])
@pytest.mark.parametrize("kind", ["bytes", "string", ["null", "bytes"], {"type": "string", "avro.java.string": "String"}])
def test_raw_messages_are_taken_out_of_their_envelope(tmp_path: Path, name: str, kind: Any) -> None:
    value = "ü" if "string" in str(kind) else b"\xff\x00"
    expected = value.encode() if isinstance(value, str) else value
    assert messages(tmp_path, record(**{"key": "long", name: kind}), {"key": 1, name: value}) == [expected]


def test_a_missing_raw_message_is_empty(tmp_path: Path) -> None:
    assert messages(tmp_path, record(value=["null", "bytes"]), {"value": None}, {"value": b"a"}) == [b"", b"a"]


def test_an_event_is_no_envelope(tmp_path: Path) -> None:
    assert messages(tmp_path, record(event="string", value="string"), {"event": "x", "value": "1"}) == [b'{"event":"x","value":"1"}']


def test_a_number_called_value_is_no_raw_message(tmp_path: Path) -> None:
    assert messages(tmp_path, record(value="long"), {"value": 1}) == [b'{"value":1}']


@pytest.mark.parametrize(("schema", "value"), [("bytes", b"a"), ("string", "a"), ("long", 97)])
def test_records_need_not_be_records(tmp_path: Path, schema: str, value: Any) -> None:
    assert messages(tmp_path, schema, value) == [b"97" if value == 97 else b"a"]


@pytest.mark.parametrize(
    ("kind", "now"),
    [
        ("string", "2023-11-14T22:13:21.5Z"),
        ("string", "2023-11-14T23:13:21.500+01:00"),
        ("string", "2023-11-14 22:13:21.5"),
        ({"type": "long", "logicalType": "timestamp-millis"}, datetime(2023, 11, 14, 22, 13, 21, 500_000, UTC)),
        ({"type": "long", "logicalType": "timestamp-micros"}, datetime(2023, 11, 14, 22, 13, 21, 500_000, UTC)),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, datetime(2023, 11, 14, 22, 13, 21, 500_000)),
        ("long", 1_700_000_001_500),
        ("long", 1_700_000_001_500_000),
    ],
)
def test_the_arrival_of_a_raw_message(tmp_path: Path, kind: Any, now: Any) -> None:
    schema = record(body="bytes", now=["null", kind])
    (found, without) = read(put(tmp_path, container(schema, [[{"body": b"a", "now": now}, {"body": b"b", "now": None}]])))
    assert (found.arrival, without.arrival) == (1_700_000_001_500_000, ARRIVAL)


@pytest.mark.parametrize("now", ["", "yesterday", "2023-13-01T00:00:00Z", "1969-01-01T00:00:00Z"])
def test_an_arrival_that_cannot_be_is_that_of_the_job(tmp_path: Path, now: str) -> None:
    (found,) = read(put(tmp_path, container(record(body="bytes", now="string"), [[{"body": b"a", "now": now}]])))
    assert found.arrival == ARRIVAL


def test_other_records_become_json(tmp_path: Path) -> None:
    point = {"type": "record", "name": "Point", "fields": [{"name": "x", "type": ["null", "double"]}, {"name": "y", "type": "double"}]}
    schema = record(event="string", token=["null", "string"], tags={"type": "map", "values": ["null", "long"]}, at=point)
    values = {"event": "ü", "token": None, "tags": {"a": 1, "b": None}, "at": {"x": None, "y": 1.5}}
    assert messages(tmp_path, schema, values) == ['{"event":"ü","tags":{"a":1},"at":{"y":1.5}}'.encode()]


def logical(kind: str, name: str, **options: int) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **options}


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (logical("long", "timestamp-micros"), datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006Z"),
        (logical("long", "timestamp-millis"), datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00Z"),
        (logical("long", "local-timestamp-micros"), datetime(2026, 1, 2), "2026-01-02T00:00:00Z"),
        (logical("int", "date"), date(2026, 1, 2), "2026-01-02"),
        (logical("int", "time-millis"), time(3, 4, 5), "03:04:05"),
        (logical("string", "uuid"), UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (logical("bytes", "decimal", precision=6, scale=2), Decimal("12.30"), 12.3),
        ("bytes", "ü".encode(), "ü"),
        ("bytes", b"\xff", "/w=="),
        ("double", float("nan"), None),
        ({"type": "array", "items": ["null", "bytes"]}, [b"a", None], ["a", None]),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "A", "A"),
        (["null", "long"], None, "left out"),
    ],
)
def test_values(tmp_path: Path, kind: Any, value: Any, expected: Any) -> None:
    assert message(tmp_path, kind, value) == expected


def test_times_that_cannot_be_are_numbers_and_cost_no_other(tmp_path: Path) -> None:
    stored = record(at="long", day="int", id="string")
    schema = record(at=logical("long", "timestamp-micros"), day=logical("int", "date"), id=logical("string", "uuid"))
    records = [{"at": 1 << 62, "day": 1 << 30, "id": "none"}, {"at": 0, "day": 0, "id": str(UUID(int=1))}]
    content = header(schema) + block(stored, records) + SYNC
    first, second = (msgspec.json.decode(one.payload) for one in read(put(tmp_path, content)))
    assert first == records[0]
    assert second == {"at": "1970-01-01T00:00:00Z", "day": "1970-01-01", "id": str(UUID(int=1))}


def test_text_that_is_not_utf_8_costs_no_other(tmp_path: Path) -> None:
    stored, schema = record(event="bytes"), record(event="string")
    content = header(schema) + block(stored, [{"event": b"\xff"}, {"event": b"a"}]) + SYNC
    assert payloads(read(put(tmp_path, content))) == ['{"event":"\N{REPLACEMENT CHARACTER}"}'.encode(), b'{"event":"a"}']


def test_wrong_defaults_do_not_matter(tmp_path: Path) -> None:
    schema = {"type": "record", "name": "R", "fields": [{"name": "event", "type": ["null", "string"], "default": "null"}]}
    content = header(schema) + block(record(event=["null", "string"]), [{"event": "a"}]) + SYNC
    assert payloads(read(put(tmp_path, content))) == [b'{"event":"a"}']


def test_a_record_that_is_nested_too_deeply_costs_no_other(tmp_path: Path) -> None:
    inner = {"type": "record", "name": "Nested", "fields": [{"name": "in", "type": ["null", "Nested"]}]}
    deep: dict[str, Any] = {"in": None}
    for _ in range(600):
        deep = {"in": deep}
    schema = record(event=inner)
    data = encoded(schema, {"event": {"in": None}})
    nested = b"\x02" * 600 + b"\x00"
    content = header(schema) + stored_block(data + nested + data, 3) + SYNC
    assert payloads(read(put(tmp_path, content))) == [b'{"event":{}}', b"", b'{"event":{}}']
