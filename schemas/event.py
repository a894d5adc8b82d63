"""The typed event and the batch that flows between steps."""

from enum import IntEnum

import msgspec

from schemas.persons import NO_UUID, Fact, GroupFact


class PersonMode(IntEnum):
    """`events.person_mode`, with PostHog's values."""

    FULL = 0
    PROPERTYLESS = 1
    FORCE_UPGRADE = 2


PENDING = -(2**63)  # person_created_at of an event that ApplyPersonProperties completes


class Event(msgspec.Struct, array_like=True, gc=False):
    """One accepted event.

    Attributes:
        uuid: 16 bytes, most significant first.
        timestamp: event time, microseconds since 1970, corrected for the client's clock.
        arrival: arrival time, microseconds since 1970.
        properties: a JSON object, as it came.
        person_mode: a PersonMode.
        receipt, offset, index: where it came from: the receipt, the message's position in the source, and the
            event's place in that message. They name one delivery of one event.
        limited: the `schemas.reasons.Limit` that stops it, or "". Such an event is counted, not stored.
        facts, group_facts: what it says of persons and groups, to be stored before it.
        copied: campaign and app properties, as (place in COPIED, JSON) one after the other: what it says by the hour, and
            a fact only where that is news.
        groups: `$group_0` to `$group_4`, or nothing.
        person_id: 16 bytes: of its distinct id's own person, then of the person that it was found to be. Zeros until then.
        person_created_at: microseconds since 1970; 0 if there is no person, PENDING if the person is another's to tell.
        person_properties: a JSON object.
    """

    team_id: int
    uuid: bytes
    event: str
    distinct_id: str
    timestamp: int
    arrival: int
    properties: bytes
    elements_chain: str
    historical_migration: bool
    person_mode: int
    receipt: int
    offset: int
    index: int
    limited: str = ""
    facts: tuple[Fact, ...] = ()
    group_facts: tuple[GroupFact, ...] = ()
    groups: tuple[str, ...] = ()
    copied: tuple[int | bytes, ...] = ()
    person_id: bytes = NO_UUID
    person_created_at: int = 0
    person_properties: bytes = b"{}"


class DeadLetter(msgspec.Struct, array_like=True):
    """A rejected message or event with its original bytes.

    Attributes:
        team_id: 0 if no team could be told.
        reason: a `schemas.reasons.Reason`.
        detail: one line that names the field, the value (cut) and the limit.
        step: the transform that rejected it.
        body: the original bytes: of the event where it could be told apart, else of the whole message; also of a message with more bad
            events than are worth a letter each.
        arrival, receipt, offset, index: as in Event.
        stamped: whether the arrival is that of the client's request, and not just the time of reading.
        attempt: 1 for the first, and one more each time that a replay of it fails.
        source, origin_receipt, origin_offset, origin_index: where it was in its first attempt.
        events: how many rejected events it stands for.
    """

    team_id: int
    reason: str
    detail: str
    step: str
    body: bytes
    arrival: int
    receipt: int
    offset: int
    index: int
    stamped: bool = False
    attempt: int = 1
    source: str = ""
    origin_receipt: int = 0
    origin_offset: int = 0
    origin_index: int = 0
    events: int = 1


class IngestionWarning(msgspec.Struct, array_like=True):
    """What a customer should know about their events; one for each (team, type, key) of a batch.

    Attributes:
        type: a `schemas.reasons.WarningType`.
        key: what it is debounced by: a distinct id, an event name, a reason.
        details: a JSON object with the first event's field, value (cut) and limit.
        count: how many events it stands for.
        arrival, receipt, offset: of the first of them.
    """

    team_id: int
    type: str
    key: str
    details: str
    count: int
    arrival: int
    receipt: int
    offset: int


class Batch(msgspec.Struct, array_like=True):
    """What flows between steps: events, with the dead letters and warnings that must be stored before them.

    Attributes:
        keys: 16 bytes an event, its `schemas.identity.unique_key`; empty until they are computed.
        news: facts that the next person step must know, which are stored elsewhere.
        facts: facts to store that belong to no event: copies, for workers to find.
    """

    events: list[Event] = []
    letters: list[DeadLetter] = []
    warnings: list[IngestionWarning] = []
    keys: bytes = b""
    news: list[Fact] = []
    facts: list[Fact] = []
