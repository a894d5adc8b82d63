"""Rubbish about persons: a named warning, never a crash, and nobody else is touched."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from schemas.event import Event, PersonMode
from schemas.persons import person_id
from schemas.teams import Registry
from tests.persons.jobs import Job
from transforms.io.clickhouse import Client

REGISTRY = Registry(by_token={"phc_a": 1}, limits={})
NEIGHBOUR = ("$set", "neighbour", {"$set": {"email": "n@x.io"}})
DEEP = '"a thousand levels"'  # which Python's encoder cannot write
Say = tuple[str, str, dict[str, Any]]  # event, distinct id, properties


def payload(number: int, said: Say) -> bytes:
    event, who, properties = said
    at = f"2026-11-01T{10 + number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
    data = json.dumps({"event": event, "properties": properties, "timestamp": at}).replace(DEEP, '{"a":' * 1_000 + "1" + "}" * 1_000)
    return json.dumps({"uuid": str(UUID(int=number + 1)), "distinct_id": who, "token": "phc_a", "now": at, "data": data}).encode()


class Outcome:
    """What a job made of some events, each a second after the one before; the neighbour's is the first and the last."""

    def __init__(self, client: Client, *said: Say, shards: int = 16) -> None:
        job = Job(client.where, REGISTRY, shards=shards)
        batches = job.run([payload(number, one) for number, one in enumerate([NEIGHBOUR, *said, NEIGHBOUR])])
        self.events = sorted((event for batch in batches for event in batch.events), key=lambda event: event.uuid)
        self.warnings = sorted({warning.type for batch in batches for warning in batch.warnings})
        self.rejected = [letter.reason for batch in batches for letter in batch.letters]
        found = client.rows("SELECT id, properties FROM persons")
        self.persons = {row[0].bytes: json.loads(row[1]) for row in found}
        neighbour = person_id(1, "neighbour")
        assert self.persons.pop(neighbour) == {"email": "n@x.io"}
        for event in (self.events[0], self.events[-1]):
            assert (event.person_id, event.person_properties) == (neighbour, b'{"email":"n@x.io"}')

    def of(self, name: str) -> dict[str, Any]:
        return self.persons[person_id(1, name)]


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


@pytest.mark.parametrize("field", ["$set", "$set_once", "$unset"])
@pytest.mark.parametrize("value", ["plan", 7, True, 1.5])
def test_sets_of_a_wrong_type_are_absent(client: Client, field: str, value: Any) -> None:
    found = Outcome(client, ("$set", "jane", {"$set": {"a": 1}}), ("e", "jane", {field: value}))
    assert found.of("jane") == {"a": 1}
    assert found.warnings == ["malformed_event_properties"]


@pytest.mark.parametrize("field", ["$set", "$set_once"])
def test_a_list_is_no_set(client: Client, field: str) -> None:
    found = Outcome(client, ("$set", "jane", {field: ["a"]}))
    assert (found.of("jane"), found.warnings) == ({}, ["malformed_event_properties"])


@pytest.mark.parametrize("field", ["$set", "$set_once", "$unset"])
def test_null_is_no_set_and_no_mistake(client: Client, field: str) -> None:
    found = Outcome(client, ("$set", "jane", {field: None}))
    assert (found.of("jane"), found.warnings) == ({}, [])


def test_a_set_may_be_nested_and_not_too_deep(client: Client) -> None:
    found = Outcome(client, ("$set", "jane", {"$set": {"a": deep(490)}}), ("$set", "jane", {"$set": {"b": json.loads(DEEP)}}))
    assert found.of("jane") == {"a": deep(490)}
    assert found.rejected == ["malformed_event_properties"]


def test_ten_megabytes_to_set_are_too_large_an_event(client: Client) -> None:
    found = Outcome(client, ("$set", "jane", {"$set": {"a": 1}}), ("$set", "jane", {"$set": {"a": "x" * 10_000_000}}))
    assert found.of("jane") == {"a": 1}
    assert found.rejected == ["message_size_too_large"]


def test_ten_thousand_keys(client: Client) -> None:
    many = {f"k{number}": number for number in range(10_000)}
    found = Outcome(client, ("$set", "jane", {"$set": many}), ("e", "jane", {}))
    assert found.of("jane") == many == json.loads(found.events[2].person_properties)


def test_keys_of_every_kind_stay_apart(client: Client) -> None:
    odd = {"a.b": 1, "a": {"b": 2}, "": 3, " ": 4, 'q"': 5, "\n": 6, "é": 7, "\\": 8, "__proto__": 9, "$set": 10}
    found = Outcome(client, ("$set", "jane", {"$set": odd}), ("e", "jane", {}))
    assert found.of("jane") == odd == json.loads(found.events[2].person_properties)


def test_a_nul_in_keys_and_values_becomes_a_replacement_character(client: Client) -> None:
    found = Outcome(client, ("$set", "jane", {"$set": {"a\0b": "c\0d"}}))
    assert found.of("jane") == {"a\ufffdb": "c\ufffdd"}


@pytest.mark.parametrize("unset", [["a"], {"a": 1}, ["a", 7, None, {}, [], "a"], {"a": None, "": 1}])
def test_unset_takes_its_keys_and_no_others(client: Client, unset: Any) -> None:
    found = Outcome(client, ("$set", "jane", {"$set": {"a": 1, "b": 2}}), ("e", "jane", {"$unset": unset}))
    assert (found.of("jane"), found.warnings) == ({"b": 2}, [])


def test_values_that_differ_only_in_type_are_different(client: Client) -> None:
    values: list[Any] = [1, "1", True, 1.0, "true", None, "null", [1]]
    said: list[Say] = [("$set", f"id-{place}", {"$set": {"a": value}}) for place, value in enumerate(values)]
    found = Outcome(client, *said)
    raw = {row[0].bytes: row[1] for row in client.rows("SELECT id, properties FROM persons")}
    assert [raw[person_id(1, f"id-{place}")] for place in range(len(values))] == [f'{{"a":{json.dumps(value)}}}' for value in values]
    assert found.warnings == []


@pytest.mark.parametrize("event", ["$create_alias", "$merge_dangerously"])
def test_a_into_b_and_b_into_a_is_one_person(client: Client, event: str) -> None:
    found = Outcome(client, (event, "b-id", {"alias": "a-id"}), (event, "a-id", {"alias": "b-id"}), ("e", "a-id", {}), ("e", "b-id", {}))
    # A safe merge of an id that was identified before does not hold; the first one does.
    assert found.warnings == (["cannot_merge_already_identified"] if event == "$create_alias" else [])
    canonical = "b-id" if event == "$create_alias" else "a-id"
    assert list(found.persons) == [person_id(1, canonical)]


def test_a_merge_with_itself_changes_nothing(client: Client) -> None:
    found = Outcome(
        client, *[(event, "jane", {"alias": "jane", "$anon_distinct_id": "jane"}) for event in ("$identify", "$merge_dangerously")]
    )
    assert (list(found.persons), found.warnings) == ([person_id(1, "jane")], [])


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        (23, "invalid_anon_distinct_id"),
        ({"a": 1}, "invalid_anon_distinct_id"),
        ("", "cannot_merge_with_illegal_distinct_id"),
        ("NaN", "cannot_merge_with_illegal_distinct_id"),
        ("x" * 401, "cannot_merge_with_illegal_distinct_id"),
        ("a\0b", "cannot_merge_with_illegal_distinct_id"),
    ],
)
def test_a_source_that_cannot_be_merged_stays_alone(client: Client, source: Any, warning: str) -> None:
    found = Outcome(client, ("$identify", "jane", {"$anon_distinct_id": source, "$set": {"a": 1}}))
    assert found.warnings == [warning]
    assert client.rows("SELECT distinct_id FROM person_distinct_ids ORDER BY 1") == [("jane",), ("neighbour",)]


def test_a_hundred_thousand_ids_merged_into_one(client: Client) -> None:
    count = 100_000
    said: list[Say] = [("$merge_dangerously" if number % 2 else "$identify", "hub", merge_of(number)) for number in range(count)]
    found = Outcome(client, *said, ("e", f"anon-{count - 1}", {}), ("e", "hub", {}), shards=1)
    hub = person_id(1, "hub")
    assert [event.person_id for event in found.events[-3:-1]] == [hub, hub]
    assert list(found.persons) == [hub]
    assert client.rows(f"SELECT count() FROM person_distinct_ids WHERE person_id = '{UUID(bytes=hub)}'") == [(count + 1,)]


def merge_of(number: int) -> dict[str, Any]:
    return {"alias" if number % 2 else "$anon_distinct_id": f"anon-{number}"}


def seven_hundred_kib(prefix: str) -> list[Say]:
    """A small `$set`, and ten of 70 KiB each."""
    first: Say = ("$set", "jane", {"$set": {"z": 1, "email": "j@x.io", "name": "Jane"}})
    return [first] + [("$set", "jane", {"$set": {f"{prefix}{place}": "v" * 71_680}}) for place in range(10)]


def test_properties_of_700_kib_are_cut_to_512_and_protected_ones_stay(client: Client) -> None:
    found = Outcome(client, *seven_hundred_kib("k"), ("e", "jane", {}))
    assert found.warnings == ["person_properties_size_violation"]
    shown = found.of("jane")
    assert sorted(shown) == ["email", *(f"k{place}" for place in range(7)), "name"]
    stamped = found.events[-2].person_properties
    assert len(stamped) <= 524_288
    assert json.loads(stamped) == shown


def test_an_identified_person_is_cut_the_same(client: Client) -> None:
    found = Outcome(client, ("$identify", "jane", {"$anon_distinct_id": "anon"}), *seven_hundred_kib("k"), ("e", "anon", {}))
    assert found.warnings == ["person_properties_size_violation"]
    assert json.loads(found.events[-2].person_properties) == found.of("jane")


def by(kind: Callable[[Event], bool], events: list[Event]) -> list[Event]:
    return [event for event in events if kind(event)]


@pytest.mark.parametrize("who", ["Null", "undefined", "0", "[object Object]"])
def test_an_illegal_distinct_id_never_becomes_a_person(client: Client, who: str) -> None:
    found = Outcome(client, ("$set", who, {"$set": {"a": 1}}), ("$identify", who, {"$anon_distinct_id": "anon"}))
    assert found.persons == {}
    assert len(by(lambda event: event.person_mode == PersonMode.PROPERTYLESS, found.events)) == 2 - len(found.rejected)
