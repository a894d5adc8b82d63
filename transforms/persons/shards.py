"""Batches by shard of distinct ids, and of persons."""

from collections.abc import Iterator

from msgspec.structs import replace

from schemas.event import PENDING, Batch, Event
from schemas.identity import BUCKETS
from schemas.persons import NO_UUID, Fact, Kind, person_id


def split_by_id(batch: Batch, shards: int) -> Iterator[tuple[int, Batch]]:
    """Yield (shard, batch) with the events of the distinct ids of each shard, and as news the merges of which it has the source.

    Args:
        batch: of events in any order, which get the `person_id` of their own distinct id.
        shards: how many there are; it divides 256, and a shard is a range of buckets.
    """
    width = BUCKETS // shards
    known: dict[tuple[int, str], bytes] = {}
    merges: list[Fact] = []
    copies = [replace(event) for event in batch.events]  # they will be changed
    for event in copies:
        if event.person_id == NO_UUID:
            who = (event.team_id, event.distinct_id)
            found = known.get(who)
            if found is None:
                found = known[who] = person_id(*who)
            event.person_id = found
        if event.facts:
            merges += [fact for fact in event.facts if fact.kind in (Kind.LINK, Kind.FORCED)]
    yield from _split(batch, copies, merges, width)


def split_by_person(batch: Batch, shards: int) -> Iterator[tuple[int, Batch]]:
    """Yield (shard, batch) with the events of the persons of each shard, and what is news of them."""
    events = [replace(event) if event.person_created_at == PENDING else event for event in batch.events]  # those will be changed
    yield from _split(batch, events, batch.news, BUCKETS // shards)


def _split(batch: Batch, every: list[Event], news: list[Fact], width: int) -> Iterator[tuple[int, Batch]]:
    if width == BUCKETS:
        yield 0, Batch(every, batch.letters, batch.warnings, batch.keys, news, batch.facts)
        return
    events: dict[int, list[Event]] = {}
    told: dict[int, list[Fact]] = {}
    for event in every:
        events.setdefault(event.person_id[0] // width, []).append(event)
    for fact in news:
        told.setdefault(fact.person[0] // width, []).append(fact)
    letters, warnings, facts = batch.letters, batch.warnings, batch.facts
    for shard in sorted(events.keys() | told.keys()) or [0]:
        yield shard, Batch(events.get(shard, []), letters, warnings, b"", told.get(shard, []), facts)
        letters, warnings, facts = [], [], []
