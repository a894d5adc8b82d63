"""`sluice warnings`: what customers should know about their events, from `ingestion_warnings`, with what it means and what to do."""

from enum import Enum
from typing import Any, NamedTuple, Protocol

import msgspec

from schemas.reasons import Reason, WarningType
from transforms.io.clickhouse.statements import literal


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


class Severity(Enum):
    """What became of the events. Names are PostHog's."""

    DROPPED = "dropped"
    MODIFIED = "modified"
    INFO = "info"


class Explanation(NamedTuple):
    """What a warning means, for the customer who gets it."""

    severity: Severity
    means: str
    todo: str


_DROPPED, _MODIFIED, _INFO = Severity.DROPPED, Severity.MODIFIED, Severity.INFO

EXPLANATIONS: dict[Reason | WarningType, Explanation] = {
    Reason.MALFORMED_BODY: Explanation(_DROPPED, "what was sent is no event", "send JSON in UTF-8: an event, or a batch of them"),
    Reason.BODY_TOO_LARGE: Explanation(_DROPPED, "a request is larger than 20 MB, or has more than 100,000 events", "send smaller batches"),
    Reason.MESSAGE_SIZE_TOO_LARGE: Explanation(_DROPPED, "an event is larger than 1 MB", "leave large texts out of properties"),
    Reason.MISSING_TOKEN: Explanation(_DROPPED, "no token came with it", "initialise the library with the project's token"),
    Reason.INVALID_TOKEN: Explanation(_DROPPED, "the token has a form that none has", "use the project's token, not a personal key"),
    Reason.UNKNOWN_TOKEN: Explanation(_DROPPED, "no team has the token", "use the project's token"),
    Reason.MISSING_EVENT_NAME: Explanation(_DROPPED, "the event has no name", "give each event a name"),
    Reason.MISSING_DISTINCT_ID: Explanation(_DROPPED, "nobody knows whose event it is", "send a distinct_id that is not blank"),
    Reason.DISTINCT_ID_TOO_LARGE: Explanation(_DROPPED, "a distinct_id has more than 400 characters", "send a shorter one"),
    Reason.INVALID_EVENT_UUID: Explanation(_DROPPED, "the uuid is none, or nil", "send a random UUID for each event, or leave it out"),
    Reason.MALFORMED_EVENT_PROPERTIES: Explanation(
        _DROPPED, "properties are no JSON object, or are nested deeper than 500", "send an object"
    ),
    Reason.SCHEMA_VALIDATION_FAILED: Explanation(_DROPPED, "a field has a type that it cannot have", "see docs/events.md"),
    Reason.INVALID_EVENT_WHEN_PROCESS_PERSON_PROFILE_IS_FALSE: Explanation(
        _DROPPED,
        "an event about a person says that it is without one",
        "do not send $identify without a person profile",
    ),
    Reason.UNREADABLE_FILE: Explanation(_DROPPED, "the rest of a file cannot be decoded", "send the file again"),
    WarningType.EVENT_NAME_TOO_LONG: Explanation(_MODIFIED, "the name was cut to 200 characters", "use a shorter name, and properties"),
    WarningType.DISTINCT_ID_TRUNCATED: Explanation(
        _MODIFIED, "the distinct_id was cut to 200 characters", "send a shorter one: users could become one"
    ),
    WarningType.INVALID_EVENT_TIMESTAMP: Explanation(_MODIFIED, "the timestamp is none; the time of arrival is used", "send ISO 8601"),
    WarningType.IGNORED_INVALID_TIMESTAMP: Explanation(
        _MODIFIED, "the timestamp is out of range; the time of arrival is used", "check the clock: 23 hours ahead is the most"
    ),
    WarningType.IGNORED_ARRIVAL: Explanation(
        _MODIFIED, "the edge's time is more than a week from the broker's, which is used", "check the clock of the edge"
    ),
    WarningType.INVALID_PROCESS_PERSON_PROFILE: Explanation(
        _MODIFIED, "$process_person_profile is no boolean; it counts as true", "send true or false, not a text"
    ),
    WarningType.MALFORMED_EVENT_PROPERTIES: Explanation(
        _MODIFIED, "$set, $set_once, $unset or $group_set has a wrong type; it is ignored", "send an object; for $unset a list"
    ),
    WarningType.INVALID_ANON_DISTINCT_ID: Explanation(_MODIFIED, "$anon_distinct_id is no id; nothing is merged", "send the id as a text"),
    WarningType.INVALID_ALIAS: Explanation(_MODIFIED, "the alias is no id; nothing is merged", "send the id as a text"),
    WarningType.CANNOT_MERGE_WITH_ILLEGAL_DISTINCT_ID: Explanation(
        _MODIFIED, "an id that stands for nobody cannot be merged", "identify users by their own ids, not by null, 0, guest and the like"
    ),
    WarningType.CANNOT_MERGE_ALREADY_IDENTIFIED: Explanation(
        _MODIFIED, "two persons that are both identified were not merged", "call reset() when a user logs out; else $merge_dangerously"
    ),
    WarningType.PERSON_PROPERTIES_SIZE_VIOLATION: Explanation(
        _MODIFIED, "a person has more than 640 KiB of properties; no more than 512 are shown", "set fewer and shorter ones"
    ),
    WarningType.GROUP_KEY_TOO_LONG: Explanation(_MODIFIED, "a group's key has more than 400 characters; it is ignored", "shorten it"),
    WarningType.CLIENT_INGESTION_WARNING: Explanation(_INFO, "the library itself has something to say", "see the details"),
    WarningType.QUOTA_EXCEEDED: Explanation(_DROPPED, "more events came in an hour than the team may send", "send less, or have it raised"),
}

_UNKNOWN = Explanation(_INFO, "a newer release than this one wrote it", "see its documentation")


class Scope(NamedTuple):
    """Which warnings.

    Attributes:
        team, type: None for all.
        since, until: of arrival, `[since, until)`; seconds since 1970.
        limit: how many groups.
    """

    team: int | None = None
    type: str | None = None
    since: int | None = None
    until: int | None = None
    limit: int = 100

    @property
    def condition(self) -> str:
        """The same in SQL."""
        parts = (
            f"team_id = {self.team}" if self.team is not None else "",
            f"type = {literal(self.type)}" if self.type is not None else "",
            f"timestamp >= toDateTime64({self.since}, 6)" if self.since is not None else "",
            f"timestamp < toDateTime64({self.until}, 6)" if self.until is not None else "",
        )
        return " AND ".join(filter(None, parts)) or "1"


class Group(msgspec.Struct, frozen=True):
    """All warnings of one team and type.

    Attributes:
        type: a WarningType, or a Reason.
        count: events that the stored warnings stand for: there were at least so many.
        keys: how many distinct ids, fields or the like it was about.
        first, last: arrival, ISO 8601.
        details: of one of the latest, a JSON object.
    """

    team_id: int
    type: str
    severity: str
    count: int
    keys: int
    first: str
    last: str
    details: str
    means: str
    todo: str


# A rejection's warning has no key, and any other one has: of malformed_event_properties there are both.
_GROUPS = """
SELECT team_id, toString(type) AS kind, key = '' AS is_rejection, sum(count) AS events, uniqExact(key),
    formatDateTime(min(timestamp), '%FT%TZ'), formatDateTime(max(timestamp) AS latest, '%FT%TZ'), argMax(details, timestamp)
FROM ingestion_warnings FINAL WHERE {condition}
GROUP BY team_id, kind, is_rejection ORDER BY latest DESC, team_id, kind, is_rejection LIMIT {limit}
"""


def read_warnings(client: Reader, scope: Scope = Scope()) -> list[Group]:  # noqa: B008
    """Return warnings by team and type, those with the latest first."""
    rows = client.rows(_GROUPS.format(condition=scope.condition, limit=scope.limit))
    return [_group(*row) for row in rows]


def explain(kind: str, is_rejection: bool) -> Explanation:
    """Return what a type means; something for those that this release does not know, too."""
    known = {each.value: each for each in (Reason if is_rejection else WarningType)}
    return EXPLANATIONS[known[kind]] if kind in known else _UNKNOWN


def _group(team: int, kind: str, is_rejection: bool, count: int, keys: int, first: str, last: str, details: str) -> Group:
    severity, means, todo = explain(kind, is_rejection)
    return Group(team, kind, severity.value, count, keys, first, last, details, means, todo)
