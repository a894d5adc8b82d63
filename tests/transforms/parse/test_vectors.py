"""What PostHog's own tests expect (input -> output, with now = 12:00:00Z), and the rules beside them."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas.event import PersonMode
from schemas.message import Messages, Origin
from schemas.teams import Registry
from tests.transforms.parse.helpers import NOW, REGISTRY, SECOND, event_of, letter_of, message, micros, parse, warnings_of
from transforms.parse.fields import ILLEGAL_DISTINCT_IDS
from transforms.parse.rules import parse_messages


def at(text: str) -> int:
    return micros(f"2026-11-01T{text}")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"timestamp": "2026-11-01T11:00:00Z", "sent_at": "2026-11-01T12:00:10Z"}, at("10:59:50")),
        ({"timestamp": "2026-11-01T11:00:00Z", "sent_at": "2026-11-01T11:59:50Z"}, at("11:00:10")),
        (
            {"timestamp": "2026-11-01T11:00:00Z", "sent_at": "2026-11-01T12:00:10Z", "properties": {"$ignore_sent_at": True}},
            at("11:00:00"),
        ),
        ({}, NOW),
        ({"timestamp": ""}, NOW),
        ({"offset": 5000}, at("11:59:55")),
        ({"offset": 5000, "timestamp": "2026-11-01T11:00:00Z"}, at("11:59:55")),
        ({"timestamp": "2021-10-30T03:02:00.000+04:00"}, micros("2021-10-29T23:02:00")),
        ({"timestamp": "2025-09-17T14:05:04.805+03"}, micros("2025-09-17T11:05:04.805")),
        ({"timestamp": "2026-11-01 11:00:00"}, at("11:00:00")),
        ({"timestamp": "2026-11-01"}, at("00:00:00")),
        ({"timestamp": "2026-11-01T11:00:00.123456Z"}, at("11:00:00.123456")),
        ({"timestamp": 1_700_000_000}, 1_700_000_000 * SECOND),
        ({"timestamp": 1_700_000_000_123}, 1_700_000_000_123_000),
        ({"timestamp": "2026-11-01T11:00:00Z", "sent_at": "rubbish"}, at("11:00:00")),
        ({"timestamp": "2026-11-02T10:59:59Z"}, micros("2026-11-02T10:59:59")),
        ({"timestamp": "1900-01-01T00:00:00Z"}, micros("1900-01-01T00:00:00")),
    ],
)
def test_event_time(fields: dict[str, Any], expected: int) -> None:
    assert event_of(message(**fields)).timestamp == expected
    assert warnings_of(message(**fields)) == []


@pytest.mark.parametrize(
    ("fields", "warning"),
    [
        ({"timestamp": "not a date"}, "invalid_event_timestamp"),
        ({"timestamp": {"a": 1}}, "invalid_event_timestamp"),
        ({"timestamp": True}, "invalid_event_timestamp"),
        ({"timestamp": "2026-11-02T11:00:01Z"}, "ignored_invalid_timestamp"),
        ({"timestamp": "0000-01-01T00:00:00Z"}, "ignored_invalid_timestamp"),
        ({"timestamp": "10000-01-01T00:00:00Z"}, "ignored_invalid_timestamp"),
        ({"timestamp": "9999-12-31T23:59:59Z"}, "ignored_invalid_timestamp"),
        ({"timestamp": "9999-12-31T24:00:00Z"}, "invalid_event_timestamp"),
        ({"timestamp": "1899-12-31T23:59:59Z"}, "ignored_invalid_timestamp"),
        ({"offset": 1e300}, "ignored_invalid_timestamp"),
    ],
)
def test_a_time_that_cannot_be_is_the_arrival_with_a_warning(fields: dict[str, Any], warning: str) -> None:
    assert event_of(message(**fields)).timestamp == NOW
    assert warnings_of(message(**fields)) == [(1, warning)]


def test_without_a_known_arrival_the_clock_of_the_client_is_not_corrected() -> None:
    payload = message(timestamp="2026-10-01T11:00:00Z", sent_at="2026-10-01T11:00:05Z")
    assert event_of(payload, stamped=False).timestamp == micros("2026-10-01T11:00:00")


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (23, "23"),
        (23.4, "23.4"),
        (["a", "b"], '["a","b"]'),
        (True, "true"),
        ("  hello  ", "  hello  "),
        ("€" * 150, "€" * 150),
        ("a\0b", "a\ufffdb"),
    ],
)
def test_distinct_id(given: Any, stored: str) -> None:
    assert event_of(message(distinct_id=given)).distinct_id == stored
    assert warnings_of(message(distinct_id=given)) == []


@pytest.mark.parametrize("missing", [None, "", " \t"])
def test_a_missing_distinct_id(missing: Any) -> None:
    letter = letter_of(message(distinct_id=missing))
    assert (letter.team_id, letter.reason) == (1, "missing_distinct_id")
    assert warnings_of(message(distinct_id=missing)) == [(1, "missing_distinct_id")]


@pytest.mark.parametrize("character", ["a", "€", "\U0001f600"])
def test_a_long_distinct_id_is_cut_with_a_warning_and_a_very_long_one_rejected(character: str) -> None:
    payload = message(distinct_id=character * 250)
    assert event_of(payload).distinct_id == character * 200
    assert warnings_of(payload) == [(1, "distinct_id_truncated")]
    assert event_of(message(distinct_id=character * 400)).distinct_id == character * 200
    assert letter_of(message(distinct_id=character * 401)).reason == "distinct_id_too_large"


def test_the_root_wins_over_properties_and_every_alias_is_known() -> None:
    assert event_of(message(distinct_id=23, properties={"distinct_id": "myid"})).distinct_id == "23"
    assert event_of(message(distinct_id=None, properties={"distinct_id": "myid"})).distinct_id == "myid"
    assert event_of(message(**{"distinct_id": None, "$distinct_id": "x"})).distinct_id == "x"
    for alias in ("token", "$token", "api_key"):
        assert event_of(message(**{"token": None, alias: "phc_b"})).team_id == 2
    assert event_of(message(token=None, properties={"token": "phc_b"})).team_id == 2


@pytest.mark.parametrize("illegal", [*sorted(ILLEGAL_DISTINCT_IDS), "Guest", "NaN", "[object Object]"])
def test_illegal_distinct_ids_are_accepted_without_a_person(illegal: str) -> None:
    assert event_of(message(distinct_id=illegal)).person_mode == PersonMode.PROPERTYLESS


UUID = "0190a1b2-c3d4-7000-8000-00000000000f"
SAME = bytes.fromhex(UUID.replace("-", ""))


@pytest.mark.parametrize("given", [UUID, UUID.upper(), f"{{{UUID}}}", UUID.replace("-", ""), f"urn:uuid:{UUID}"])
def test_uuids_in_every_form(given: str) -> None:
    assert event_of(message(uuid=given)).uuid == SAME


@pytest.mark.parametrize(
    "given",
    [
        "not-a-uuid",
        "0" * 36,
        UUID[:-1],
        UUID + "0",
        f"{{{UUID}",
        f"{UUID}}}",
        "00000000-0000-0000-0000-000000000000",
        5,
        [],
        UUID[:8] + UUID[9:],
    ],
)
def test_a_uuid_that_is_none_is_rejected(given: Any) -> None:
    letter = letter_of(message(uuid=given))
    assert (letter.reason, letter.team_id) == ("invalid_event_uuid", 1)


@pytest.mark.parametrize("given", [None, ""])
def test_a_missing_uuid_is_made_the_same_each_time_and_different_for_each_event(given: Any) -> None:
    payload = message(uuid=given, timestamp="2026-11-01T11:00:00Z")
    first, second = parse(payload, payload)[0].events
    assert first.uuid != second.uuid
    assert first.uuid == parse(payload)[0].events[0].uuid
    assert first.uuid.hex()[12] == "7"
    assert int.from_bytes(first.uuid[:6]) == at("11:00:00") // 1000


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "missing_token"),
        ("", "missing_token"),
        (" \n", "missing_token"),
        ("x" * 65, "invalid_token"),
        ("phx_secret", "invalid_token"),
        ("phc_é", "invalid_token"),
        ("phc\0", "invalid_token"),
        (5, "invalid_token"),
        ("phc_nobody", "unknown_token"),
    ],
)
def test_tokens_that_are_refused(given: Any, reason: str) -> None:
    letter = letter_of(message(token=given))
    assert (letter.reason, letter.team_id) == (reason, 0)
    assert "secret" not in letter.detail
    assert "nobody" not in letter.detail


def test_a_token_is_trimmed() -> None:
    assert event_of(message(token="phc_a\n")).team_id == 1


def test_process_person_profile_is_off_only_by_a_boolean() -> None:
    assert event_of(message(properties={"$process_person_profile": False})).person_mode == PersonMode.PROPERTYLESS
    payload = message(properties={"$process_person_profile": "false"})
    assert event_of(payload).person_mode == PersonMode.FULL
    assert warnings_of(payload) == [(1, "invalid_process_person_profile")]


@pytest.mark.parametrize(("given", "reason"), [(None, "missing_event_name"), ("", "missing_event_name"), (5, "schema_validation_failed")])
def test_event_names_that_are_refused(given: Any, reason: str) -> None:
    assert letter_of(message(event=given)).reason == reason


def test_a_long_event_name_is_cut_with_a_warning() -> None:
    payload = message(event="é" * 201)
    assert event_of(payload).event == "é" * 200
    assert warnings_of(payload) == [(1, "event_name_too_long")]


def test_properties_go_through_byte_for_byte() -> None:
    raw = b'{ "a" : 1.50, "big": 1' + b"0" * 70 + b', "e": 1e400, "a": 2, "k": "\\u00e9\\"\\\\u0000" }'
    assert event_of(message()[:-1].replace(b'"properties": {}', b'"properties": ' + raw) + b"}").properties == raw


@pytest.mark.parametrize("given", [None, {}])
def test_no_properties_are_an_empty_object(given: Any) -> None:
    assert event_of(message(properties=given)).properties == b"{}"
    assert event_of(b'{"event":"e","distinct_id":"d","token":"phc_a","properties":null}').properties == b"{}"


def test_what_clients_send_beside_the_properties_gets_into_them() -> None:
    payload = message(**{"$set": {"a": 1}, "$set_once": {"b": 2}, "$unset": ["c"], "properties": {"x": 1, "$set_once": {"d": 3}}})
    assert json.loads(event_of(payload).properties) == {"x": 1, "$set": {"a": 1}, "$set_once": {"b": 2, "d": 3}, "$unset": ["c"]}
    both = message(**{"$set": {"a": 1, "b": 1}, "properties": {"$set": {"a": 2}}})
    assert json.loads(event_of(both).properties) == {"$set": {"a": 2, "b": 1}}


@pytest.mark.parametrize(
    ("name", "inside", "beside", "both"),
    [
        ("$set", None, {"a": 1}, {"a": 1}),
        ("$set", {"a": 1}, None, {"a": 1}),
        ("$set", [1], {"a": 1}, [1]),
        ("$unset", ["a", "b"], ["b", "c"], ["a", "b", "c"]),
        ("$unset", None, ["c"], ["c"]),
        ("$unset", "a", ["c"], "a"),
        ("$unset", ["c"], "a", ["c"]),
    ],
)
def test_what_is_in_both_places_is_merged(name: str, inside: Any, beside: Any, both: Any) -> None:
    payload = json.loads(message(properties={name: inside}))
    assert json.loads(event_of(json.dumps({**payload, name: beside}).encode()).properties) == {name: both}


def test_a_captured_message() -> None:
    inner = {"event": "e", "distinct_id": "inner", "uuid": UUID, "properties": {"x": 1}, "timestamp": "2026-11-01T11:00:00Z"}
    outer = {
        "uuid": UUID[:-1] + "e",
        "distinct_id": "outer",
        "ip": "1.2.3.4",
        "now": "2026-11-01T10:00:00Z",
        "sent_at": "2026-11-01T10:00:10Z",
    }
    event = event_of(json.dumps({**outer, "token": "phc_b", "data": json.dumps(inner)}).encode())
    assert (event.team_id, event.distinct_id, event.uuid) == (2, "outer", SAME[:-1] + b"\x0e")
    assert (event.arrival, event.timestamp) == (at("10:00:00"), at("10:59:50"))
    assert json.loads(event.properties) == {"x": 1, "$ip": "1.2.3.4"}
    assert json.loads(
        event_of(json.dumps({**outer, "token": "phc_b", "data": json.dumps({**inner, "properties": {"$ip": 5}})}).encode()).properties
    ) == {"$ip": 5}


@pytest.mark.parametrize(
    "now",
    [
        "0001-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        0,
        1,
        "2019-12-31T23:59:59Z",
        "2106-02-07T06:28:16Z",
        "9999-01-01T00:00:00Z",
        "x",
        None,
    ],
)
def test_an_arrival_that_no_table_can_hold_is_not_believed(now: Any) -> None:
    payload = json.dumps({"token": "phc_a", "distinct_id": "d", "now": now, "data": message().decode()}).encode()
    assert event_of(payload).arrival == NOW


WEEK = 7 * 86_400 * SECOND


@pytest.mark.parametrize("properties", [{}, {"$elements_chain": "a", "token": "phc_a"}], ids=["plain", "not quite"])
@pytest.mark.parametrize(
    ("source", "took", "apart", "is_believed"),
    [
        ("kafka://c/t/id/0", NOW, WEEK, True),
        ("kafka://c/t/id/0", NOW, -WEEK, True),
        ("kafka://c/t/id/0", NOW, WEEK + SECOND, False),
        ("kafka://c/t/id/0", NOW, -WEEK - SECOND, False),
        ("pubsub://p/s", NOW, -1_500 * 86_400 * SECOND, False),
        ("kafka://c/t/id/0", 0, -1_500 * 86_400 * SECOND, True),  # the broker's own time could not be
        ("file", NOW, -1_500 * 86_400 * SECOND, True),
    ],
)
def test_a_stream_does_not_believe_a_now_far_from_its_brokers_time(
    source: str, took: int, apart: int, is_believed: bool, properties: dict[str, Any]
) -> None:
    edge = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=NOW + apart)).isoformat()
    payload = json.dumps({"token": "phc_a", "distinct_id": "d", "now": edge, "data": message(properties=properties).decode()}).encode()
    messages = Messages(9, source, [payload, message(uuid=None)], [0, 1], NOW + 5, [took, took])
    batch, _ = parse_messages(messages, REGISTRY)
    assert [event.arrival for event in batch.events] == [NOW + apart if is_believed else took, took or NOW + 5]
    assert [(warning.team_id, warning.type) for warning in batch.warnings] == ([] if is_believed else [(1, "ignored_arrival")])


def test_a_replay_of_a_stream_does_not_believe_it_either() -> None:
    """What was not believed the first time has the broker's time, and gets it again."""
    edge = "2020-06-01T00:00:00Z"
    payload = json.dumps({"token": "phc_a", "distinct_id": "d", "now": edge, "data": message().decode()}).encode()
    arrivals = []
    for source in ("kafka://c/t/id/0", "f.jsonl"):
        origin = Origin(source, 1, 2, 0, True, 1)
        batch, _ = parse_messages(Messages(9, "letters://", [payload], [0], 0, [NOW], origins=[origin]), REGISTRY)
        arrivals.append(batch.events[0].arrival)
    assert arrivals == [NOW, 1_590_969_600 * SECOND]


def test_a_captured_message_may_name_its_event_outside_too() -> None:
    inner = message(properties={"x": 1}).decode()
    outer = {"event": "outside", "timestamp": "2020-01-01T00:00:00Z", "token": "phc_a", "now": "2026-11-01T10:00:00Z", "data": inner}
    event = event_of(json.dumps(outer).encode())
    assert (event.event, event.arrival, event.timestamp, event.properties) == ("e", at("10:00:00"), at("10:00:00"), b'{"x": 1}')


def test_a_dropped_token_is_dropped_with_blanks_around_it_too() -> None:
    registry = Registry(by_token={"phc_a": 1}, limits={}, dropped_tokens=frozenset({"phc_a"}))
    assert event_of(message(token=" phc_a\n"), registry=registry).limited == "drop_tokens"


def test_a_fraction_of_an_offset_is_rounded_not_cut() -> None:
    assert event_of(message(offset=1.001)).timestamp == NOW - 1001  # as a float, 1.001 * 1000 is a little less


@pytest.mark.parametrize("fields", [{"timestamp": "2200-01-01T00:00:00Z"}, {"timestamp": "2026-10-01T11:00:00Z", "offset": 5}, {}])
def test_a_made_uuid_does_not_depend_on_when_a_file_is_read(fields: dict[str, Any]) -> None:
    payload = message(uuid=None, **fields)
    uuids = {parse_messages(Messages(9, "file", [payload], [0], read), REGISTRY)[0].events[0].uuid for read in (NOW, NOW + 10**9)}
    assert len(uuids) == 1


def test_a_batch_gives_its_token_clock_and_history_to_its_events() -> None:
    events = [json.loads(message(token=None, timestamp="2026-11-01T11:00:00Z", uuid=UUID[:-1] + str(place))) for place in range(3)]
    events[2]["token"] = "phc_b"
    body = json.dumps({"api_key": "phc_a", "batch": events, "sent_at": "2026-11-01T12:00:10Z", "historical_migration": True}).encode()
    found = parse(body)[0].events
    assert [event.team_id for event in found] == [1, 1, 2]
    assert [event.index for event in found] == [0, 1, 2]
    assert all(event.historical_migration and event.timestamp == at("10:59:50") for event in found)


def test_elements_chain_and_client_warnings() -> None:
    assert event_of(message(properties={"$elements_chain": 'a:text="x"'})).elements_chain == 'a:text="x"'
    payload = message(event="$$client_ingestion_warning", properties={"$$client_ingestion_warning_message": "too big"})
    assert event_of(payload).event == "$$client_ingestion_warning"
    (warning,) = parse(payload)[0].warnings
    assert warning.type == "client_ingestion_warning"
    assert "too big" in warning.details


def test_warnings_are_collapsed_by_team_type_and_key() -> None:
    (warning,) = parse(*[message(timestamp="no date")] * 5)[0].warnings
    assert (warning.count, warning.team_id, warning.receipt, warning.offset) == (5, 1, 9, 0)


def test_received_is_counted_by_team_and_hour_of_arrival() -> None:
    captured = json.dumps({"token": "phc_b", "distinct_id": "d", "now": "2026-11-01T09:59:59Z", "data": message().decode()}).encode()
    _, report = parse(message(), captured, b"rubbish", message(event=None))
    assert sorted((tally.team_id, tally.hour, tally.count) for tally in report.tallies) == [
        (0, NOW // SECOND, 1),
        (1, NOW // SECOND, 2),
        (2, NOW // SECOND - 3 * 3600, 1),
    ]
