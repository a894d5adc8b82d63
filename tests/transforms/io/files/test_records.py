from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.io.files.records import Shape, to_arrival, to_json


@pytest.mark.parametrize(
    ("fields", "raw", "has_arrival"),
    [
        ({"body": True}, "body", False),
        ({"value": True, "payload": True, "now": True}, "payload", True),
        ({"body": False, "value": True}, "value", False),
        ({"value": False}, None, False),
        ({"event": True, "value": True, "now": True}, None, False),
        ({"data": True}, None, False),
        ({}, None, False),
    ],
)
def test_shapes(fields: dict[str, bool], raw: str | None, has_arrival: bool) -> None:
    shape = Shape(fields)
    assert (shape.raw, shape.has_arrival) == (raw, has_arrival)


@pytest.mark.parametrize("text", ['{"a":1}', ' {"a": [1, {}]} ', "{}", '{"n":1e400}'])
@pytest.mark.parametrize("kind", [str, str.encode])
def test_properties_in_a_text_become_an_object(text: str, kind: Any) -> None:
    message = to_json({"event": "x", "properties": kind(text)})
    assert message == b'{"event":"x","properties":%b}' % text.strip().encode()


@pytest.mark.parametrize("text", ["", "null", "[1]", '"a"', '{"a":1', '{"a":1},"event":"y"', '{"a":1}}', '{"a":NaN}', "{'a':1}", "{\n"])
def test_properties_that_are_no_object_stay_a_text(text: str) -> None:
    assert msgspec.json.decode(to_json({"event": "x", "properties": text})) == {"event": "x", "properties": text}


@given(st.text())
def test_no_text_breaks_out_of_its_field(text: str) -> None:
    record = {"properties": text, "data": text, "event": text}
    assert msgspec.json.decode(to_json(record)) in (record, record | {"properties": loaded(text)})


def loaded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None


def test_data_stays_a_text() -> None:
    assert to_json({"data": '{"a":1}', "properties": None}) == b'{"data":"{\\"a\\":1}"}'


def test_the_record_is_not_changed() -> None:
    record = {"event": "x", "properties": "{}", "none": None}
    to_json(record)
    assert record == {"event": "x", "properties": "{}", "none": None}


def test_a_uuid_of_bytes_becomes_text_and_other_bytes_do_not() -> None:
    uuid = UUID(int=1 << 127)
    message = msgspec.json.decode(to_json({"uuid": uuid.bytes, "id": uuid.bytes, "more": {"uuid": b"0123456789abcdef"}}))
    assert message == {"uuid": str(uuid), "id": "gAAAAAAAAAAAAAAAAAAAAA==", "more": {"uuid": "0123456789abcdef"}}
    assert to_json({"uuid": str(uuid).encode()}) == b'{"uuid":"%b"}' % str(uuid).encode()


def test_keys_need_not_be_text() -> None:
    assert to_json({"m": {b"a": 1, 2: 3, b"\xff": 4}}) == '{"m":{"a":1,"2":3,"\N{REPLACEMENT CHARACTER}":4}}'.encode()


@pytest.mark.parametrize(
    ("value", "arrival"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000),
        (b"1970-01-01T00:00:01.000001Z", 1_000_001),
        (1, 1_000_000),
        (4_294_967_295, 4_294_967_295_000_000),
        (100_000_000_000, 100_000_000_000_000),
        (4_294_967_295_999, 4_294_967_295_999_000),
        (100_000_000_000_000, 100_000_000_000_000),
        (None, 7),
        ("", 7),
        (b"\xff", 7),
        (0, 7),
        (-1, 7),
        (1.5, 7),
        ([], 7),
        ("2106-02-07T06:28:15Z", 4_294_967_295_000_000),
        ("2106-02-07T06:28:16Z", 7),
        (datetime(2200, 1, 1), 7),
        (10**30, 7),
    ],
)
def test_arrivals(value: Any, arrival: int) -> None:
    assert to_arrival(value, 7) == arrival
