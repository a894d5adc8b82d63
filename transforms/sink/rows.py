"""Records as the columns of their tables."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from schemas.event import DeadLetter, Event, IngestionWarning
from schemas.limits import MAX_GROUP_TYPES
from schemas.outcomes import Outcome, Report, Tally
from schemas.persons import Fact, GroupFact, Kind, person_id
from schemas.tables import DEAD_LETTERS, EVENTS, FACTS, GROUP_FACTS, INGESTION_WARNINGS

HOUR = 3_600_000_000  # microseconds

_FIELDS = {"_timestamp": "arrival", "_receipt": "receipt", "_offset": "offset", "_index": "index"}  # of a record, for a column
_TRANSPOSED = 512
_CREATED = int(Kind.CREATED)
_GROUPS = [f"$group_{place}" for place in range(MAX_GROUP_TYPES)]


def event_rows(events: Sequence[Event]) -> pa.Table:
    """Return rows of `events`."""
    if not events:
        return EVENTS.empty_table()
    fields = _fields(events)
    groups = fields["groups"]
    if any(groups):
        padded = [(*group, *_NO_GROUPS[len(group) :]) for group in groups]
        fields.update(zip(_GROUPS, zip(*padded, strict=True), strict=True))
    else:
        fields.update(dict.fromkeys(_GROUPS, [""] * len(events)))
    return _table(fields, EVENTS)


_NO_GROUPS = ("",) * MAX_GROUP_TYPES


def fact_rows(facts: Sequence[Fact]) -> pa.Table:
    """Return rows of `person_properties` or `person_links`."""
    fields = _fields(facts)
    fields["bucket"] = [person[0] for person in fields["person"]]
    fields["person_id"] = fields["person"]
    own = lru_cache(maxsize=1024)(person_id)  # facts of one event come together
    fields["own"] = [int(fact.kind != _CREATED and fact.person == own(fact.team_id, fact.distinct_id)) for fact in facts]
    return _table(fields, FACTS)


def group_rows(facts: Sequence[GroupFact]) -> pa.Table:
    """Return rows of `group_properties`."""
    return _table(_fields(facts), GROUP_FACTS)


def letter_rows(letters: Sequence[DeadLetter]) -> pa.Table:
    """Return rows of `dead_letters`."""
    return _table(_fields(letters), DEAD_LETTERS)


def warning_rows(warnings: Sequence[IngestionWarning]) -> pa.Table:
    """Return rows of `ingestion_warnings`."""
    fields = _fields(warnings)
    fields["timestamp"] = fields["arrival"]
    return _table(fields, INGESTION_WARNINGS)


def stored_reports(rows: pa.Table) -> list[Report]:
    """Return a report for each receipt in some rows of `events`: all of them stored."""
    hours = pc.divide(rows["_timestamp"].cast(pa.int64()), HOUR)
    keys = pa.table({"receipt": rows["_receipt"], "team": rows["team_id"], "hour": hours})
    groups = keys.group_by(["receipt", "team", "hour"]).aggregate([([], "count_all")])
    reports: dict[int, Report] = {}
    for row in groups.to_pylist():
        report = reports.setdefault(row["receipt"], Report(row["receipt"], []))
        report.tallies.append(Tally(row["team"], row["hour"] * 3600, Outcome.STORED, "", row["count_all"]))
    return list(reports.values())


def _fields(records: Sequence[msgspec.Struct]) -> dict[str, Sequence[Any]]:
    """Return the values of each field, records (one at least) transposed some at a time: all at once would miss the processor's caches."""
    names = records[0].__struct_fields__
    columns: list[list[Any]] = [[] for _ in names]
    for start in range(0, len(records), _TRANSPOSED):
        values = zip(*map(msgspec.structs.astuple, records[start : start + _TRANSPOSED]), strict=True)
        for column, part in zip(columns, values, strict=True):
            column.extend(part)
    return dict(zip(names, columns, strict=True))


def _table(fields: dict[str, Sequence[Any]], schema: pa.Schema) -> pa.Table:
    columns = [pa.array(fields[_FIELDS.get(field.name, field.name)], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)
