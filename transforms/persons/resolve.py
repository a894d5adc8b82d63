"""The person of each event of a shard of distinct ids, and the properties of those that stand for themselves."""

from collections.abc import Callable, Iterable, Sequence

import msgspec
import numpy as np

from schemas.event import PENDING, Batch, Event, PersonMode
from schemas.limits import MAX_PERSON_BYTES
from schemas.persons import NO_UUID, Fact, Kind
from schemas.reasons import WarningType
from transforms.persons.facts import HOUR, copied_facts
from transforms.persons.known import NEVER, KnownIds, KnownPersons, Times
from transforms.persons.stamps import Properties, Warn, bound_stamps
from transforms.state.key_table import Rows

# A member of an Enum costs a look-up each time.
_ONCE, _IDENTIFIED = int(Kind.ONCE), int(Kind.IDENTIFIED)
_FULL = int(PersonMode.FULL)


def resolve(ids: KnownIds, batch: Batch, warn: Warn, warn_of_merge: Callable[[Fact], None]) -> Batch:
    """Return a batch whose events have their person; those with `person_created_at` PENDING lack the person's properties.

    Facts that are no news to the tables are left out.

    Args:
        ids: what is known of the shard; it is changed.
        batch: events of the shard with the `person_id` of their own distinct id, and as `news` the merges whose source is of the shard.
        warn: called with an event whose person has too many properties.
        warn_of_merge: called with each merge that does not hold.
    """
    events = [event for event in batch.events if not event.limited]
    full = [event for event in events if event.person_mode == _FULL]
    rows = ids.rows(b"".join([event.person_id for event in full]))
    news: list[Fact] = []
    # Merges first, so that what came with them is the target's already.
    speaking = [(event, row) for event, row in zip(full, rows.tolist(), strict=True) if event.facts or event.copied]
    news += _identify(ids, speaking)
    news += _merge(ids, batch.news, warn_of_merge)
    news += _see(ids, full, rows)
    for event, row in speaking:
        if not ids.is_pending[row]:
            learn(ids, row, event, event.person_id)
    settle(ids, speaking, warn)
    _stamp(ids, full, rows)
    if len(full) < len(events):
        _upgrade(ids, [event for event in events if event.person_mode != _FULL])
    bound_stamps(events, warn)
    return Batch(batch.events, batch.letters, batch.warnings, batch.keys, news, batch.facts)


def _identify(ids: KnownIds, speaking: Iterable[tuple[Event, int]]) -> Iterable[Fact]:
    for event, row in speaking:
        for fact in event.facts:
            if fact.kind == _IDENTIFIED:
                was_pending = ids.is_pending[row]
                if not ids.identify(row, -fact.order):
                    event.facts = tuple(other for other in event.facts if other is not fact)
                elif not was_pending:
                    yield from _handed(ids, row, event.team_id, event.distinct_id, event.person_id)


def _merge(ids: KnownIds, merges: Sequence[Fact], warn: Callable[[Fact], None]) -> Iterable[Fact]:
    rows = ids.rows(b"".join([fact.person for fact in merges])).tolist()
    for row, fact in zip(rows, merges, strict=True):
        if not ids.merge(row, fact):
            warn(fact)
        yield from _handed(ids, row, fact.team_id, fact.distinct_id, fact.person)


def _handed(ids: KnownIds, row: int, team_id: int, distinct_id: str, own: bytes) -> Iterable[Fact]:
    """Yield what the person shard must know of an id that is no longer its own master; and forget it here."""
    if not ids.is_pending[row]:
        return
    person = ids.targets.get(row, own)
    if ids.seen[row] != NEVER:
        yield _created(team_id, distinct_id, int(ids.seen[row]), person)
    for kind, key, (order, uuid, value) in ids.record(row):
        yield Fact(team_id, distinct_id, kind, key, order, uuid, value, person)
    ids.forget(row)


def _created(team_id: int, distinct_id: str, time: int, person: bytes) -> Fact:
    return Fact(team_id, distinct_id, Kind.CREATED, "", -time, NO_UUID, b"", person)


def _see(ids: KnownIds, events: Sequence[Event], rows: Rows) -> Iterable[Fact]:
    """Remember when ids were seen; an event that is the first of its id says so."""
    times: Times = np.array([event.timestamp if event.timestamp < event.arrival else event.arrival for event in events], np.int64)
    for place in np.flatnonzero(ids.see(rows, times)).tolist():
        event, row, time = events[place], int(rows[place]), int(times[place])
        team, who, own = event.team_id, event.distinct_id, event.person_id
        event.facts = (Fact(team, who, Kind.FIRST_SEEN, "", -time, NO_UUID, b"", own), *event.facts)
        if ids.is_pending[row]:
            yield _created(team, who, time, ids.targets.get(row, own))


def learn(persons: KnownPersons, row: int, event: Event, own: bytes) -> None:
    """Merge the properties that an event tells of its person, and leave in the event what is news. It is shown after `settle`.

    Args:
        persons: who is known; it is changed.
        row: the person's.
        event: the event, with its person's id.
        own: person id of the event's own distinct id.
    """
    told = [fact for fact in event.facts if fact.kind <= _ONCE]
    if event.copied:
        order = min(event.timestamp, event.arrival)
        if not persons.has_heard(row, order, hash((own, order // HOUR, event.copied))):
            told += copied_facts(event, event.person_id)
        event.copied = ()
    if not told:
        return
    news = persons.add(row, told, own)
    others = [fact for fact in event.facts if fact.kind > _ONCE]
    event.facts = (*others, *(fact if fact.person == event.person_id else with_person(fact, event.person_id) for fact in news))


def settle(persons: KnownPersons, told: Sequence[tuple[Event, int]], warn: Warn) -> None:
    """Show what the events of a batch have told.

    Args:
        persons: who is known; it is changed.
        told: these events, and the rows of their persons.
        warn: called with the last event of each person that has too many properties.
    """
    if too_large := persons.settle():
        for row, event in {row: event for event, row in told if row in too_large}.items():
            details = {"field": "person_properties", "value": f"{too_large[row].size} bytes", "limit": f"{MAX_PERSON_BYTES} bytes"}
            warn(event, WarningType.PERSON_PROPERTIES_SIZE_VIOLATION, details)


def _stamp(ids: KnownIds, events: Sequence[Event], rows: Rows) -> None:
    properties = Properties(ids)
    for event, row, is_pending, seen in zip(events, rows.tolist(), ids.is_pending[rows].tolist(), ids.seen[rows].tolist(), strict=True):
        if is_pending:
            event.person_id = ids.targets.get(row, event.person_id)
            event.person_created_at = PENDING
        else:
            event.person_created_at = seen
            event.person_properties = properties[row]


def _upgrade(ids: KnownIds, events: Sequence[Event]) -> None:
    """Give personless events the person of their distinct id, if that is known to have one."""
    rows = ids.find(b"".join([event.person_id for event in events]))
    are_known = (rows >= 0) & (ids.is_pending[rows] | (ids.seen[rows] != NEVER))
    known = [events[place] for place in np.flatnonzero(are_known).tolist()]
    for event in known:
        event.person_mode = PersonMode.FORCE_UPGRADE
    _stamp(ids, known, rows[are_known])


def with_person(fact: Fact, person: bytes) -> Fact:
    """Return a fact as it is stored under another person."""
    return msgspec.structs.replace(fact, person=person)
