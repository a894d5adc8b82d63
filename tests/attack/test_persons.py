"""One person, one message: what it costs is linear in the bytes that were sent (attacks B2, B3 and B6, and neighbours of their kind)."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from schemas.event import Batch
from schemas.limits import MAX_PERSON_BYTES, MAX_STAMPED_BYTES, TRIMMED_STAMP_BYTES
from schemas.message import Messages
from schemas.persons import Fact, Kind, person_id
from schemas.teams import Registry
from tests.attack.cpu import cpu_limit
from transforms.io.clickhouse import Client
from transforms.parse.rules import parse_messages
from transforms.persons.apply import apply_properties
from transforms.persons.known import KnownIds, KnownPersons
from transforms.persons.resolve import resolve
from transforms.persons.shards import split_by_id, split_by_person
from transforms.persons.warn import Warnings
from transforms.sink.rows import event_rows, fact_rows

NOW = 1_795_000_000_000_000
SECOND = 1_000_000
MANY = 10_000
REGISTRY = Registry(by_token={"phc_1": 1}, limits={})

Properties = dict[str, Any]


class Worker:
    """The person steps, each with one shard, and the making of rows."""

    def __init__(self) -> None:
        self.ids, self.persons = KnownIds(), KnownPersons()

    def take(self, *messages: bytes) -> Batch:
        """Return the events of one read, complete."""
        batch, _ = parse_messages(Messages(1, "file", list(messages), list(range(len(messages))), NOW, [], ""), REGISTRY)
        warnings = Warnings(batch.warnings)
        ((_, batch),) = split_by_id(batch, 1)
        ((_, batch),) = split_by_person(resolve(self.ids, batch, warnings.of_event, warnings.of_merge), 1)
        batch = apply_properties(self.persons, batch, warnings.of_event)
        batch.warnings = warnings.all()
        return batch


def message(events: list[tuple[str, str, Properties]]) -> bytes:
    """Return a client's batch: events by name, distinct id and properties; a second lies between two of them, the latest first."""
    batch = [
        {
            "event": name,
            "distinct_id": who,
            "properties": properties,
            "uuid": f"0190e5e8-0000-7000-8000-{number:012x}",
            "offset": number * 1000,
        }
        for number, (name, who, properties) in enumerate(events)
    ]
    return json.dumps({"api_key": "phc_1", "batch": batch}).encode()


def each(many: int, event: Callable[[int], tuple[str, str, Properties]]) -> bytes:
    return message([event(number) for number in range(many)])


FLOODS = {
    "B3: $set of a new key each": each(20_000, lambda n: ("$set", "d", {"$set": {f"k{n}": 1}})),
    "$set of one key, each older than the one before": each(MANY, lambda n: ("$set", "d", {"$set": {"k": n}})),
    "$set_once of a new key each": each(MANY, lambda n: ("$set", "d", {"$set_once": {f"k{n}": 1}})),
    "$unset of a new key each": each(MANY, lambda n: ("$set", "d", {"$unset": [f"k{n}"]})),
    "one $unset of all keys": message([("$set", "d", {"$unset": [f"k{n}" for n in range(MANY)]})]),
    "$set of a new key each, of a person that is identified": each(MANY, lambda n: ("$identify", "d", {"$set": {f"k{n}": 1}})),
    "B6: $merge_dangerously of one id into many": each(MANY, lambda n: ("$merge_dangerously", f"d{n}", {"alias": "d"})),
    "$identify of many ids as one, each with properties": each(
        MANY // 2,
        lambda n: [("$set", f"a{n // 2}", {"$set": {f"k{n}": 1}}), ("$identify", "d", {"$anon_distinct_id": f"a{n // 2}"})][n % 2],
    ),
    "$identify of one id as many": each(MANY, lambda n: ("$identify", f"d{n}", {"$anon_distinct_id": "d"})),
    "$identify of one id, each earlier": each(MANY, lambda n: ("$identify", "d", {})),
    "$create_alias of many ids": each(MANY, lambda n: ("$create_alias", "d", {"alias": f"a{n}"})),
    "a chain of aliases": each(MANY, lambda n: ("$create_alias", f"a{n + 1}", {"alias": f"a{n}"})),
    "$groupidentify of a new type each": each(MANY, lambda n: ("$groupidentify", "d", {"$group_type": f"t{n}", "$group_key": "k"})),
    "$groupidentify of a new key each": each(MANY, lambda n: ("$groupidentify", "d", {"$group_type": "t", "$group_key": f"k{n}"})),
    "many $groups of one event": message([("e", "d", {"$groups": {f"t{n}": "k" for n in range(MANY)}})]),
}


@pytest.mark.parametrize("flood", FLOODS)
def test_a_flood_about_one_person_takes_linear_time(flood: str) -> None:
    with cpu_limit():
        batch = Worker().take(FLOODS[flood])
        fact_rows([*batch.facts, *(fact for event in batch.events for fact in event.facts)])
    assert not batch.letters
    assert sum(len(event.person_properties) for event in batch.events) <= 2 * MAX_STAMPED_BYTES


def facts_of(worker: Worker, flood: str) -> Iterator[Fact]:
    batch = worker.take(FLOODS[flood])
    yield from batch.facts
    for event in batch.events:
        yield from event.facts


@pytest.mark.parametrize("flood", [name for name in FLOODS if "group" not in name])
def test_what_a_flood_has_stored_is_loaded_in_linear_time(flood: str) -> None:
    """A start of a worker reads all of it again."""
    facts = list(facts_of(Worker(), flood))
    with cpu_limit():
        for known in (KnownIds(), KnownPersons()):
            known.learn(facts)


def fat(size: int) -> Properties:
    """Return properties of about so many bytes, with a name that is protected."""
    return {"$set": {"name": "Jane", **{f"k{number}": "x" * 980 for number in range(size // 1000)}}}


def test_events_of_a_fat_person_share_what_they_carry() -> None:
    """Attack B2: 5,000 copies of half a megabyte are more than a worker has."""
    worker = Worker()
    worker.take(message([("$set", "d", fat(490_000))]))
    batch = worker.take(each(50, lambda n: ("e", "d", {})), each(50, lambda n: ("e", "d", {})))
    assert len({id(event.person_properties) for event in batch.events}) == 1
    assert len(batch.events[0].person_properties) > 480_000


@pytest.mark.parametrize("name", ["$set", "$identify"])
def test_what_one_message_makes_of_a_fat_person_is_bounded(name: str) -> None:
    worker = Worker()
    worker.take(message([(name, "d", fat(490_000))]))
    batch = worker.take(each(5_000, lambda n: ("e", "d", {})), message([("e", "d", {})]))
    *of_message, neighbour = [event.person_properties for event in batch.events]
    full = [stamp for stamp in of_message if len(stamp) > TRIMMED_STAMP_BYTES]
    assert sum(map(len, full)) <= MAX_STAMPED_BYTES < sum(map(len, full)) + len(full[0])
    assert {stamp == full[0] for stamp in full} == {True}
    trimmed = [stamp for stamp in of_message if len(stamp) <= TRIMMED_STAMP_BYTES]
    assert len(full) + len(trimmed) == 5_000
    assert {json.loads(stamp)["name"] for stamp in trimmed} == {"Jane"}, "protected properties first"
    assert neighbour == full[0], "another message's"
    (warning,) = batch.warnings
    assert (warning.type, warning.count) == ("person_properties_size_violation", len(trimmed))


def test_a_hundred_events_of_the_largest_person_carry_all() -> None:
    worker = Worker()
    worker.take(message([("$set", "d", {"$set": {"k": "x" * (MAX_PERSON_BYTES - 8)}})]))
    batch = worker.take(each(100, lambda n: ("e", "d", {})))
    assert {len(event.person_properties) for event in batch.events} == {MAX_PERSON_BYTES}
    assert not batch.warnings


def test_of_many_forced_merges_the_earliest_counts_after_a_load_too() -> None:
    merges = [Fact(1, "d", Kind.FORCED, f"d{n}", -n, n.to_bytes(16), b"", person_id(1, "d")) for n in range(1, 5)]
    for facts in (merges, merges[::-1]):
        known = KnownIds()
        known.learn(facts)
        assert known.targets[int(known.rows(person_id(1, "d"))[0])] == person_id(1, "d1")


def test_rows_of_events_that_share_properties_are_whole() -> None:
    worker = Worker()
    worker.take(message([("$set", "d", fat(10_000))]))
    batch = worker.take(each(10, lambda n: ("e", "d", {})))
    assert event_rows(batch.events)["person_properties"].to_pylist() == [batch.events[0].person_properties] * 10


MERGES: dict[str, Callable[[int], tuple[str, str]]] = {  # source and target
    "one id into many": lambda n: ("d", f"d{n}"),
    "many ids into one": lambda n: (f"d{n}", "d"),
    "a chain": lambda n: (f"d{n}", f"d{n + 1}"),
    "many pairs": lambda n: (f"a{n}", f"b{n}"),
}


@pytest.mark.parametrize("shape", MERGES)
def test_views_of_many_merges_take_memory_in_proportion(client: Client, shape: str) -> None:
    """A neighbour of B6: everybody's persons are read with them, and every `squash`."""
    merges = [MERGES[shape](number) for number in range(MANY)]
    facts = [Fact(1, who, Kind.FORCED, whom, -n, n.to_bytes(16), b"", person_id(1, who)) for n, (who, whom) in enumerate(merges)]
    client.insert("person_links", fact_rows(facts))
    query = f"SELECT count(), uniqExact(person_id) FROM person_distinct_ids SETTINGS max_memory_usage = {300 << 20}"
    ids = {name for merge in merges for name in merge}
    assert client.rows(query) == [(len(ids), MANY if shape == "many pairs" else 1)]
