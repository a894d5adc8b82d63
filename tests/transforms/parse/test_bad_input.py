"""Rubbish: each kind gives a typed rejection with its original bytes, and harms no neighbour."""

import base64
import gzip
import json
import tracemalloc
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Rejected
from schemas.event import Batch
from schemas.limits import MAX_BATCH_EVENTS, MAX_BODY_BYTES, MAX_DEPTH
from tests.transforms.parse.helpers import event_of, letter_of, message, parse
from transforms.parse.body import inflate


def with_properties(raw: bytes) -> bytes:
    return message().replace(b'"properties": {}', b'"properties": ' + raw)


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


BAD = {
    "nothing": (b"", "malformed_body", 0),
    "not JSON": (b"nonsense!", "malformed_body", 0),
    "a number": (b"5", "malformed_body", 0),
    "null": (b"null", "malformed_body", 0),
    "cut JSON": (message()[:-5], "malformed_body", 0),
    "two objects": (message() + message(), "malformed_body", 0),
    "truncated gzip": (gzip.compress(message() * 50)[:-20], "malformed_body", 0),
    "corrupt gzip": (gzip.compress(message())[:20] + b"\xff" * 30, "malformed_body", 0),
    "gzip of rubbish": (gzip.compress(b"\x00\x01"), "malformed_body", 0),
    "NaN": (with_properties(b'{"a": NaN}'), "malformed_body", 0),
    "Infinity": (with_properties(b'{"a": -Infinity}'), "malformed_body", 0),
    "invalid UTF-8 in a name": (b'{"token": "phc_a", "event": "\xff"}', "malformed_body", 0),
    "invalid UTF-8 in properties": (with_properties(b'{"a": "\xc3\x28"}'), "malformed_body", 1),
    "properties are a list": (with_properties(b"[1]"), "malformed_event_properties", 1),
    "properties are a text": (with_properties(b'"x"'), "malformed_event_properties", 1),
    "10,000 deep": (with_properties(nested(10_000)), "malformed_event_properties", 1),
    "just too deep": (with_properties(nested(MAX_DEPTH + 1)), "malformed_event_properties", 1),
    "deep lists": (with_properties(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"), "malformed_event_properties", 1),
    "brackets without end": (b"[" * 10_000, "malformed_body", 0),
    "10 MB of properties": (with_properties(b'{"a": "' + b"x" * 10_000_000 + b'"}'), "message_size_too_large", 0),
    "a body over the limit": (b'{"batch": ["' + b"x" * MAX_BODY_BYTES + b'"]}', "body_too_large", 0),
    "an empty object": (b"{}", "missing_token", 0),
}


@pytest.mark.parametrize("name", BAD)
def test_each_kind_of_rubbish(name: str) -> None:
    payload, reason, team = BAD[name]
    letter = letter_of(payload)
    assert (letter.reason, letter.team_id) == (reason, team)
    assert letter.body == payload
    assert letter.step == "ParseEvents"
    assert 0 < len(letter.detail) < 500


def test_neighbours_are_unharmed() -> None:
    payloads = [part for bad, _, _ in BAD.values() for part in (bad, message())]
    batch, _ = parse(*payloads)
    assert len(batch.events) == len(batch.letters) == len(BAD)
    assert [letter.offset for letter in batch.letters] == [place * 2000 for place in range(len(BAD))]


def test_a_bad_event_is_all_that_a_batch_loses() -> None:
    bad = [b"5", b'"x"', b"{}", message(token=None, event=None), message(token=None, uuid="x"), with_properties(nested(5000))]
    bad += [with_properties(b'{"a": NaN}'), b"nonsense", b'{"event": "\xff"}', b'{"event": "a\\ud800", "uuid": "x"}']
    good = message(token=None)
    items = [item for each in bad for item in (good, each)]
    body = b'{"api_key": "phc_a", "sent_at": "2026-11-01T12:00:00Z", "batch": [' + b",".join(items) + b"]}"
    batch, _ = parse(gzip.compress(body))
    assert len(batch.events) == len(bad)
    assert [letter.index for letter in batch.letters] == list(range(1, 2 * len(bad), 2))
    assert {letter.team_id for letter in batch.letters} == {1}
    for letter, original in zip(batch.letters, bad, strict=True):
        assert original in letter.body
        again = parse(letter.body)[0]  # it can be replayed as it is
        assert [(each.reason, each.team_id) for each in again.letters] == [(letter.reason, 1)]
        assert not again.events


def test_a_batch_that_ends_early_is_lost_as_a_whole() -> None:
    letter = letter_of(b'{"api_key": "phc_a", "batch": [' + message() + b', {"event": NaN}, {"event": "x')
    assert letter.reason == "malformed_body"


def test_what_stands_beside_a_bad_event_still_counts() -> None:
    body = b'{"batch": ["]", {"batch": NaN}, ' + message(token=None) + b'], "note": "\\ud800", "api_key": "phc_a"}'
    batch, _ = parse(body)
    assert [event.team_id for event in batch.events] == [1]
    assert [letter.index for letter in batch.letters] == [0, 1]


@pytest.mark.parametrize("element", [b"1", b"{}", b"NaN"])
def test_rubbish_does_not_become_a_flood_of_letters(element: bytes) -> None:
    letter = letter_of(b"[" + b",".join([element] * (MAX_BATCH_EVENTS + 1)) + b"]")
    assert letter.reason == "body_too_large"


def test_just_deep_enough_is_accepted() -> None:
    assert event_of(with_properties(nested(MAX_DEPTH))).properties == nested(MAX_DEPTH)
    brackets = b'{"a": "' + b"[" * 3000 + b'"}'
    assert event_of(with_properties(brackets)).properties == brackets


def test_a_gzip_bomb_is_stopped_early() -> None:
    bomb = gzip.compress(b"0" * (40 * MAX_BODY_BYTES), 9)
    tracemalloc.start()
    try:
        assert letter_of(bomb).reason == "body_too_large"
        assert tracemalloc.get_traced_memory()[1] < 4 * MAX_BODY_BYTES
    finally:
        tracemalloc.stop()


def test_a_bomb_of_many_members_is_stopped_too() -> None:
    with pytest.raises(Rejected, match="body_too_large"):
        inflate(gzip.compress(b"0" * 600) * 3, limit=1000)
    assert inflate(gzip.compress(b"0" * 500) * 2, limit=1000) == b"0" * 1000


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        (b'"\\u0000"', b'"\\ufffd"'),
        (b'"\\ud800"', b'"\\ufffd"'),
        (b'"\\udc00x\\uD800"', b'"\\ufffdx\\ufffd"'),
        (b'"\\ud83d\\ude00"', b'"\\ud83d\\ude00"'),
        (b'"\\ud83d\\ud83d\\ude00"', b'"\\ufffd\\ud83d\\ude00"'),
        (b'"\\\\u0000"', b'"\\\\u0000"'),
        (b'"\\\\\\u0000"', b'"\\\\\\ufffd"'),
    ],
)
def test_escapes_that_no_text_can_hold_become_the_replacement_character(sent: bytes, stored: bytes) -> None:
    properties = event_of(with_properties(b'{"a": ' + sent + b"}")).properties
    assert properties == b'{"a": ' + stored + b"}"
    json.loads(properties)["a"].encode()


def test_lone_surrogates_in_the_fields_that_are_read() -> None:
    payload = message().replace(b'"distinct_id": "d"', b'"distinct_id": "d\\ud800"').replace(b'"event": "e"', b'"event": "\\udfff"')
    event = event_of(payload)
    assert (event.distinct_id, event.event) == ("d\ufffd", "\ufffd")


def test_numbers_out_of_range() -> None:
    assert event_of(message().replace(b'"d"', b"1e400")).distinct_id == "1e400"
    assert event_of(message().replace(b'"d"', b"9" * 70)).distinct_id == "9" * 70
    assert letter_of(message().replace(b'"e"', b"1e400")).reason == "schema_validation_failed"
    assert event_of(message(ip=5).replace(b'"ip": 5', b'"ip": 1e400')).properties == b'{"$ip":1e400}'
    assert letter_of(b'{"api_key":"phc_a","sent_at":1e400,"batch":[5]}').body == b'{"api_key":"phc_a","sent_at":1e400,"batch":[5]}'


@pytest.mark.parametrize("field", ["event", "distinct_id", "timestamp", "ip", "token", "sent_at", "offset", "uuid"])
def test_what_had_numbers_out_of_range_can_be_sent_to_the_next_step(field: str) -> None:
    payload = message(**{field: 5}).replace(b": 5,", b": -1e400,").replace(b": 5}", b": -1e400}")
    batch, _ = parse(payload, b'{"sent_at": 1e400, "batch": [' + payload + b"]}")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(batch), type=Batch) == batch


def test_of_duplicate_keys_the_last_counts() -> None:
    assert event_of(b'{"event": "a", "event": "b", "distinct_id": "d", "token": "phc_a"}').event == "b"


def test_members_of_gzip_are_bounded() -> None:
    assert inflate(gzip.compress(b"x") * 100) == b"x" * 100
    with pytest.raises(Rejected, match="100 gzip members"):
        inflate(gzip.compress(b"x") * 101)


@pytest.mark.parametrize("properties", [b"{}", b'{"$set": {"b": 1}}'])
@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (b'{"\xff": 1}', "malformed_body"),
        (b'{"a": "\xff"}', "malformed_body"),
        (nested(MAX_DEPTH + 1), "malformed_event_properties"),
        (nested(5000), "malformed_event_properties"),
    ],
)
def test_what_is_put_into_the_properties_is_checked_like_them(properties: bytes, theirs: bytes, reason: str) -> None:
    bad = with_properties(properties)[:-1] + b', "$set": ' + theirs + b"}"
    batch, _ = parse(b"[" + message() + b"," + bad + b"]")
    assert len(batch.events) == 1
    (letter,) = batch.letters
    assert (letter.reason, letter.team_id, letter.index) == (reason, 1, 1)
    assert bad in letter.body


def test_a_form_of_many_fields_is_no_crash() -> None:
    assert letter_of(b"data=x" + b"&a=b" * 5_000).reason == "malformed_body"


def test_a_client_cannot_pass_a_string_off_as_what_was_set_aside() -> None:
    spoof = message(properties={"z": "\0deep 7\0", "y": "\0deep 0\0"})
    deep = with_properties(nested(5000))
    batch, _ = parse(b'{"batch": [' + b",".join([message(), spoof, deep, spoof.replace(b'"e"', b"5")]) + b"]}")
    assert [event.index for event in batch.events] == [0, 1]
    assert json.loads(batch.events[1].properties) == {"z": "\ufffddeep 7\ufffd", "y": "\ufffddeep 0\ufffd"}
    assert [(letter.index, letter.reason) for letter in batch.letters] == [
        (2, "malformed_event_properties"),
        (3, "schema_validation_failed"),
    ]
    assert deep in batch.letters[0].body
    assert spoof.replace(b'"e"', b"5") in batch.letters[1].body


def test_wrappings() -> None:
    body = b'{"api_key": "phc_a", "batch": [' + message(token=None) + b"]}"
    text = base64.b64encode(body)
    for wrapped in (
        gzip.compress(body),
        text,
        base64.b64encode(gzip.compress(body)),
        b"data=" + text.replace(b"+", b"%2B"),
        b"  \n" + body,
    ):
        assert event_of(wrapped).distinct_id == "d"
    assert event_of(b"[" + message() + b"]").team_id == 1


def test_a_source_that_cannot_decode_says_why() -> None:
    letter = letter_of(b"tail", rejected="unreadable_file")
    assert (letter.reason, letter.body) == ("unreadable_file", b"tail")


@given(st.lists(st.binary(max_size=80), max_size=5))
def test_no_bytes_are_too_strange(payloads: list[bytes]) -> None:
    parse(*payloads)


@given(st.data())
def test_no_damage_to_a_good_message_is_too_strange(data: st.DataObject) -> None:
    good = message(
        properties={"a": ["x", {"b": 1.5}], "$set": {"c": "é"}}, timestamp="2026-11-01T11:00:00Z", sent_at="2026-11-01T11:00:00Z"
    )
    if data.draw(st.booleans()):
        good = json.dumps({"token": "phc_a", "now": "2026-11-01T11:00:00Z", "distinct_id": "x", "data": good.decode()}).encode()
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
        if not damaged:
            break
    wrapped = bytes(damaged)
    if data.draw(st.booleans()):
        wrapped = zlib.compress(wrapped, wbits=31)
    parse(wrapped)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*json.loads(message()), "offset", "sent_at", "batch", "data", "now", "$set"]), json_values))
def test_any_type_in_any_field(fields: dict[str, object]) -> None:
    parse(json.dumps({**json.loads(message()), **fields}).encode())


@given(json_values)
def test_properties_stay_as_they_came(value: object) -> None:
    raw = json.dumps({"k": value}, ensure_ascii=False).encode(errors="replace")
    if b"\\u0000" not in raw:
        assert event_of(with_properties(raw)).properties == raw
