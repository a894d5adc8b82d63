"""Batches by shard of (team, uuid)."""

from collections.abc import Iterator

from schemas.event import Batch, Event
from schemas.identity import BUCKETS, unique_key


def split(batch: Batch, shards: int) -> Iterator[tuple[int, Batch]]:
    """Yield (shard, batch) with the events of each shard and their keys. What belongs to no event goes with the first one.

    Args:
        batch: of events in any order; it is not changed.
        shards: how many there are; it divides 256, and a shard is a range of buckets.
    """
    if shards == 1:
        whole = b"".join([unique_key(event.team_id, event.uuid) for event in batch.events])
        yield 0, Batch(batch.events, batch.letters, batch.warnings, whole, facts=batch.facts)
        return
    width = BUCKETS // shards
    parts: dict[int, tuple[list[Event], list[bytes]]] = {}
    for event in batch.events:
        key = unique_key(event.team_id, event.uuid)
        part = parts.get(key[0] // width)
        if part is None:
            part = parts[key[0] // width] = ([], [])
        part[0].append(event)
        part[1].append(key)
    letters, warnings, facts = batch.letters, batch.warnings, batch.facts
    for shard, (events, keys) in parts.items() or [(0, ([], []))]:
        yield shard, Batch(events, letters, warnings, b"".join(keys), facts=facts)
        letters, warnings, facts = [], [], []
