"""The compiled scanner takes what is ordinary, and nothing comes out otherwise than by the rules."""

import json
import random
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.generate import Plan, generate
from schemas.event import Batch
from schemas.message import Messages
from schemas.outcomes import Report
from schemas.persons import COPIED
from schemas.teams import Registry, TeamLimits
from tests.transforms.parse.helpers import NOW, message, micros
from transforms.io.registry import registry_source
from transforms.parse import rules
from transforms.parse.decode import Fields, Properties
from transforms.parse.fields import ILLEGAL_DISTINCT_IDS
from transforms.parse.ordinary import Ordinary
from transforms.parse.rules import parse_messages

REGISTRY = Registry(
    by_token={"phc_a": 1, "phc_b": 2, "phc_dropped": 2},
    limits={2: TeamLimits(drop_tokens=frozenset({"phc_dropped"}))},
    group_types={1: ("company", "project")},
    dropped_tokens=frozenset({"phc_dropped"}),
)
UUID = "0190a1b2-0000-7000-8000-00000000000f"
TIMES = (
    "2026-11-01T11:59:59.5Z",
    "2026-11-01T11:59:59.123456+02:00",
    "2024-02-29T00:00:00",
    "1900-01-01T00:00:00Z",
    "2026-08-31T23:59:59Z",
)


@pytest.fixture(autouse=True, scope="module")
def compiled() -> None:
    """Here each test looks at both by itself."""


def both(payloads: list[bytes], registry: Registry = REGISTRY, stamped: bool = True) -> tuple[tuple[Batch, Report], tuple[Batch, Report]]:
    """Return what messages become by the scanner and the rules, and by the rules alone."""
    arrivals = [NOW + place for place in range(len(payloads))] if stamped else []
    messages = Messages(9, "file", payloads, list(range(len(payloads))), NOW, arrivals)
    found = []
    for rules.COMPILED in (False, True):
        found.append(parse_messages(messages, registry))
    return found[1], found[0]


def assert_same(*payloads: bytes, stamped: bool = True) -> None:
    with_scanner, by_rules = both(list(payloads), stamped=stamped)
    assert with_scanner == by_rules


def is_taken(payload: bytes, **batch: Any) -> bool:
    asked = {"token": None, "arrival": NOW, "sent_at": None, "historical": False, "offset": 0, "index": 0, **batch}
    return Ordinary(Teams({"phc_a": 1, "phc_b": 2}, 0), 9).event(payload, *asked.values()) is not None


class Teams(dict[str, int]):
    """Teams by token, and that of all other tokens."""

    def __init__(self, known: dict[str, int], other: int) -> None:
        super().__init__(known)
        self._other = other

    def __missing__(self, token: str) -> int:
        return self._other


ORDINARY = {
    "the least": message(),
    "spaces": b" " + message(properties={"a": [1, {"b": None}], "c": {}, "d": []}).replace(b",", b"\n ,\t").replace(b":", b" : ") + b"\r\n",
    "numbers": message(properties={"a": [0, -0.0, 1.5e300, -12e-7, 10**30]}),
    "any language": message(event="購入", properties={"título": "Grüner Tee 🍵"}),
    "as bytes": json.dumps(json.loads(message(event="購入", properties={"a": "Grüner Tee 🍵"})), ensure_ascii=False).encode(),
    "escapes": message(event='a "b"', properties={"a\n": '\\ \b\f\r\t / " é', "$elements_chain": 'a:text="b"'}),
    "a number as distinct id": message(distinct_id=123456789),
    "a distinct id in properties": message(distinct_id=None, properties={"distinct_id": "d"}),
    "a token in properties": message(token=None, properties={"token": "phc_b"}),
    "an API key": message(token=None, api_key="phc_a"),
    "no time": message(timestamp=None),
    "groups": message(properties={"$groups": {"company": "Acmé", "team": 7}}),
    "copied": message(properties={name: name for name in reversed(COPIED)} | {"utm_term": None}),
    "no person": message(properties={"$process_person_profile": False}),
    "$set": message(properties={"$set": {"a": 1}, "$set_once": {"b": None}, "$unset": ["c"]}),
    **{f"event {name}": message(event=name, properties={"$anon_distinct_id": "x", "utm_source": "y"}) for name in
       ("$identify", "$create_alias", "$merge_dangerously", "$set", "$groupidentify", "$exception", "$$heatmap", "$pageview")},
    **{f"at {time}": message(timestamp=time) for time in TIMES},
}  # fmt: skip

OTHERS = {
    "a time like no other": message(timestamp="2026-11-01 11:00"),
    "February 30": message(timestamp="2026-02-30T11:00:00Z"),
    "April 31": message(timestamp="2026-04-31T11:00:00Z"),
    "January 32": message(timestamp="2026-01-32T11:00:00Z"),
    "a leap day that is none": message(timestamp="1900-02-29T11:00:00Z"),
    "seven digits": message(timestamp="2026-11-01T11:00:00.1234567Z"),
    "more after a time": message(timestamp="2026-11-01T11:00:00Zulu"),
    "more after a time without a zone": message(timestamp="2026-11-01T11:00:00 "),
    "no digits": message(timestamp="2026-11-01T11:00:00.Z"),
    "too far ahead": message(timestamp="2026-11-03T12:00:00Z"),
    "too long ago": message(timestamp="1899-12-31T23:59:59Z"),
    "no UUID": message(uuid=None),
    "the nil UUID": message(uuid="0" * 8 + "-0000-0000-0000-" + "0" * 12),
    "half a UUID": message(uuid=UUID[:-1] + "g"),
    "a UUID without hyphens": message(uuid=UUID.replace("-", "")),
    "hyphens elsewhere": message(uuid="0190a1b-20000-7000-8000-00000000000f"),
    "a NUL": message(properties={"a": "\0"}),
    "half a surrogate": message().replace(b"{}", rb'{"a": "\ud83d"}'),
    "half a surrogate and a letter": message().replace(b"{}", rb'{"a": "\ud83d\u0041"}'),
    "half a surrogate and an escape": message().replace(b"{}", rb'{"a": "\ud83d\n"}'),
    "a name with an escape": message(properties={"a": 1}).replace(b'"a"', rb'"\u0024set"'),
    "a field with an escape": message(properties={"a": 1}).replace(b'"event"', rb'"e\u0076ent"'),
    "a name twice": message(properties={"$set": 1}).replace(b'{"$set"', b'{"$set": {"a": 1}, "$set"'),
    "a field twice": message().replace(b'{"event"', b'{"event": "f", "event"'),
    "no UTF-8": message(properties={"a": "?"}).replace(b"?", b"\xc3("),
    "a surrogate as bytes": message(properties={"a": "?"}).replace(b"?", b"\xed\xa0\x80"),
    "a blank distinct id": message(distinct_id="  "),
    "a long distinct id": message(distinct_id="d" * 201),
    "a wide distinct id": message(distinct_id="\u3000"),
    "a wide distinct id as bytes": message(distinct_id="?").replace(b"?", "\u3000".encode()),
    "a distinct id that is no UTF-8": message(distinct_id="?").replace(b"?", b"\xc3("),
    "a token that is no UTF-8": message(token="?").replace(b"?", b"\xc3("),
    "a long event name": message(event="e" * 201),
    "a zero": message(distinct_id=0),
    "a fraction": message(distinct_id=1.5),
    "a list as a distinct id": message(distinct_id=[1]),
    "a large number": message(distinct_id=10**20),
    "an unknown token": message(token="phc_x"),
    "a token to drop": message(token="phc_dropped"),
    "two tokens": message(api_key="phc_b"),
    "an empty token": message(token="", api_key="phc_b"),
    "an address": message(ip="1.2.3.4"),
    "$set outside": message(**{"$set": {"a": 1}}),
    "an offset": message(offset=5),
    "no properties": message().replace(b', "properties": {}', b""),
    "null": message().replace(b"{}", b"null"),
    "a strange mode": message(properties={"$process_person_profile": "false"}),
    "no person, but said": message(properties={"$process_person_profile": False, "$set": {"a": 1}}),
    "groups without a person": message(properties={"$process_person_profile": False, "$groups": {"company": "c"}}),
    "a merge without a person": message(event="$identify", properties={"$process_person_profile": False}),
    "a client's warning": message(event="$$client_ingestion_warning"),
    "and escaped": message(event="$").replace(b'"$"', rb'"\u0024$client_ingestion_warning"'),
    "a chain that is no text": message(properties={"$elements_chain": [1]}),
    "deep": message().replace(b"{}", b'{"a":' * 60 + b"{}" + b"}" * 60),
    "deep lists": message().replace(b"{}", b'{"a":' + b"[" * 60 + b"]" * 60 + b"}"),
    "too large": message(properties={"a": "x" * 1_000_000}),
    "two objects": message() + message(),
    "cut": message()[:-1],
    **{f"distinct id {each}": message(distinct_id=each.upper()) for each in sorted(ILLEGAL_DISTINCT_IDS)},
    **{f"the number {each}": message().replace(b"{}", b'{"a": %s}' % each.encode()) for each in
       ("01", "-", "+1", ".5", "1.", "1e", "1e+", "NaN", "0x1", "1_0", "--1", "tru", "nul", "'a'", "")},
    **{f"the escape {each}": message().replace(b"{}", b'{"a": "%s"}' % each.encode()) for each in (r"\x", r"\u12", r"\u00zz", "\\")},
    **{f"the character {code}": message(properties={"a": "?n"}).replace(b"?", bytes([code])) for code in (0, 9, 10, 31)},
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_what_is_ordinary_is_taken(name: str) -> None:
    payload = ORDINARY[name]
    assert is_taken(payload.strip())
    assert_same(payload)
    assert_same(payload, stamped=False)


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_not_is_left_to_the_rules(name: str) -> None:
    assert not is_taken(OTHERS[name])
    assert_same(OTHERS[name])


def test_in_a_batch() -> None:
    for inner in (ORDINARY | OTHERS).values():
        without = inner.replace(b', "token": "phc_a"', b"")
        for envelope in (
            b'{"api_key": "phc_b", "batch": [%b, %b]}',
            b'{"api_key": 7, "sent_at": "2026-11-01T11:00:00Z", "batch": [%b, %b]}',
        ):
            assert_same(envelope % (inner, without))


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"ip": "1.2.3.4"},
        {"ip": 'a"\0'},
        {"ip": ""},
        {"ip": 7},
        {"uuid": UUID, "distinct_id": "d", "token": "phc_a"},
        {"uuid": "0190a1b2-0000-7000-8000-000000000001"},
        {"uuid": UUID.replace("-", "")},
        {"uuid": "no UUID"},
        {"uuid": "", "distinct_id": "", "token": ""},
        {"uuid": 0, "distinct_id": 0, "token": 0},
        {"distinct_id": "e"},
        {"distinct_id": "5"},
        {"token": "phc_b"},
        {"token": "phc_x"},
        {"token": "phc_dropped"},
        {"token": ["phc_a"]},
        {"sent_at": "2026-11-01T11:59:00Z"},
        {"sent_at": "2026-11-01T11:59:00Z", "$ignore_sent_at": True},
        {"now": "2026-10-01T00:00:00Z"},
    ],
    ids=json.dumps,
)
def test_in_an_envelope(said: dict[str, Any]) -> None:
    for payload in (ORDINARY | OTHERS).values():
        inner = payload.decode(errors="surrogateescape")
        assert_same(json.dumps({"now": "2026-11-01T12:00:01Z", "data": inner, **said}).encode())


def test_an_envelope_adds_the_address() -> None:
    inner = message(properties={"a": 1}).decode()
    assert_same(json.dumps({"data": inner, "ip": "1.2.3.4", "now": "2026-11-01T12:00:01Z"}).encode())
    assert_same(json.dumps({"data": inner.replace('"a"', '"$ip"'), "ip": "1.2.3.4", "now": "2026-11-01T12:00:01Z"}).encode())


def test_a_batch_gives_its_events_token_and_clock() -> None:
    payload = message(token=None, timestamp="2026-11-01T11:00:00Z")
    assert is_taken(payload, token="phc_b", sent_at=NOW + 5)
    assert not is_taken(payload)
    assert not is_taken(message(timestamp="0000-06-01T00:00:00Z"), sent_at=micros("0001-01-01T00:00:00"))
    ignored = message(timestamp="2026-11-01T11:00:00Z", properties={"$ignore_sent_at": True})
    assert not is_taken(ignored, sent_at=NOW + 5)
    assert is_taken(ignored)


@pytest.mark.parametrize("shape", ["event", "batch", "captured"])
def test_generated_events_come_out_the_same(shape: str, tmp_path: Path) -> None:
    made = generate(Plan(events=3_000, out=str(tmp_path), shape=shape, invalid=0.05))
    payloads = [line for file in made.files for line in Path(file).read_bytes().splitlines()]
    with_scanner, by_rules = both(payloads, registry_source(str(made.teams)).current())
    assert with_scanner == by_rules
    if shape == "event":  # most of them would be left to the rules, and nobody would notice
        ordinary = Ordinary(Teams({}, 1), 9)
        taken = [ordinary.event(payload, None, NOW, None, False, 0, 0) is not None for payload in payloads]
        assert sum(taken) > 0.85 * len(payloads)


NAMES = st.sampled_from(
    [
        *Fields.__struct_encode_fields__,
        *Properties.__struct_encode_fields__,
        *COPIED[:3],
        "$group_set",
        "alias",
        "$anon_distinct_id",
        "other",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12)
    | st.sampled_from(["phc_a", "phc_b", "phc_dropped", UUID, "$identify", "$set", "anonymous", *TIMES]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=8)
MESSAGES = st.builds(
    lambda fields, properties, plain: json.dumps(
        {**json.loads(message()), **fields, "properties": fields.get("properties", properties)}, ensure_ascii=plain
    ).encode("utf-8", "surrogatepass"),
    OBJECTS, OBJECTS, st.booleans(),
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(MESSAGES)
def test_any_json_comes_out_the_same(payload: bytes) -> None:
    assert_same(payload)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from([*ORDINARY.values()]), st.data())
def test_any_damage_comes_out_the_same(payload: bytes, data: st.DataObject) -> None:
    """A few bytes of an ordinary message are replaced, dropped or said twice."""
    damaged = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        new = data.draw(st.sampled_from([b"", b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"0", b"e", b"\x00", b"\xc3", b"u", b" "]))
        damaged[at : at + data.draw(st.integers(0, 2))] = new
    assert_same(bytes(damaged))


@given(
    st.datetimes(datetime(1899, 1, 1), datetime(2027, 1, 1)),
    st.sampled_from(["", "Z", "+00:00", "-23:59", "+14:00", "+24:00", "+1:00"]),
    st.integers(0, 7),
)
def test_any_time_comes_out_the_same(moment: Any, zone: str, digits: int) -> None:
    text = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    fraction = f".{moment.microsecond:06d}0"[: digits + 1] if digits else ""
    assert_same(message(timestamp=text + fraction + zone))


@example(b"")
@given(st.binary(max_size=60))
def test_bytes_of_any_kind_do_no_harm(payload: bytes) -> None:
    assert_same(payload, b"{" + payload)


def test_a_shuffled_message_comes_out_the_same() -> None:
    shuffled = bytearray(message())
    random.Random(0).shuffle(shuffled)
    assert_same(bytes(shuffled))
