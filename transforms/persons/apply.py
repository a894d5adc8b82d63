"""The properties of persons of a shard, for the events that wait for them."""

from collections.abc import Iterable, Sequence

import numpy as np

from schemas.event import PENDING, Batch
from schemas.persons import PROPERTIES, Fact, person_id
from transforms.persons.known import NEVER, KnownPersons
from transforms.persons.resolve import learn, settle
from transforms.persons.stamps import Properties, Warn, bound_stamps


def apply_properties(persons: KnownPersons, batch: Batch, warn: Warn) -> Batch:
    """Return a batch whose events are complete.

    Args:
        persons: what is known of the shard; it is changed.
        batch: events, of which those with `person_created_at` PENDING are of the shard; and as `news` what its persons got from others.
        warn: called with an event whose person has too many properties.
    """
    facts = [*batch.facts, *_take_in(persons, batch.news)]
    waiting = [event for event in batch.events if event.person_created_at == PENDING]
    rows = persons.rows(b"".join([event.person_id for event in waiting])).tolist()
    speaking = [(event, row) for event, row in zip(waiting, rows, strict=True) if event.facts or event.copied]
    for event, row in speaking:
        learn(persons, row, event, person_id(event.team_id, event.distinct_id))
    settle(persons, speaking, warn)
    properties = Properties(persons)
    for event, row, seen in zip(waiting, rows, persons.seen[rows].tolist(), strict=True):
        event.person_created_at = seen if seen != NEVER else min(event.timestamp, event.arrival)
        event.person_properties = properties[row]
    bound_stamps(waiting, warn)
    return Batch(batch.events, batch.letters, batch.warnings, batch.keys, [], facts)


def _take_in(persons: KnownPersons, news: Sequence[Fact]) -> Iterable[Fact]:
    """Merge what came from other shards; yield what is to be stored under the persons, for the next who loads the shard."""
    rows = persons.rows(b"".join([fact.person for fact in news])).tolist()
    properties: dict[tuple[int, int, str], list[Fact]] = {}
    for row, fact in zip(rows, news, strict=True):
        if fact.kind in PROPERTIES:
            properties.setdefault((row, fact.team_id, fact.distinct_id), []).append(fact)
        elif persons.see(np.array([row]), np.array([-fact.order]))[0]:
            yield fact
    for (row, _, _), facts in properties.items():
        yield from persons.add(row, facts, person_id(facts[0].team_id, facts[0].distinct_id))
