"""The typed event and the batch that flows between steps."""

from enum import IntEnum

import msgspec


class PersonMode(IntEnum):
    """`events.person_mode`, with PostHog's values."""

    FULL = 0
    PROPERTYLESS = 1
    FORCE_UPGRADE = 2


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


class DeadLetter(msgspec.Struct, array_like=True):
    """A rejected message or event with its original bytes.

    Attributes:
        team_id: 0 if no team could be told.
        reason: a `schemas.reasons.Reason`.
        detail: one line that names the field, the value (cut) and the limit.
        step: the transform that rejected it.
        body: the original bytes: of the event where it could be told apart, else of the whole message.
        arrival, receipt, offset, index: as in Event.
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
    """

    events: list[Event] = []
    letters: list[DeadLetter] = []
    warnings: list[IngestionWarning] = []
    keys: bytes = b""
