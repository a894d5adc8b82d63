"""Records as the columns of their tables."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from schemas.event import DeadLetter, Event, IngestionWarning
from schemas.outcomes import Outcome, Report, Tally
from schemas.tables import DEAD_LETTERS, EVENTS, INGESTION_WARNINGS

HOUR = 3_600_000_000  # microseconds

_SOURCES = {"_timestamp": "arrival", "_receipt": "receipt", "_offset": "offset", "_index": "index"}


def event_rows(events: Sequence[Event]) -> pa.Table:
    """Return rows of `events`."""
    return _table(events, EVENTS)


def letter_rows(letters: Sequence[DeadLetter]) -> pa.Table:
    """Return rows of `dead_letters`."""
    return _table(letters, DEAD_LETTERS)


def warning_rows(warnings: Sequence[IngestionWarning]) -> pa.Table:
    """Return rows of `ingestion_warnings`."""
    return _table(warnings, INGESTION_WARNINGS, {"timestamp": "arrival"})


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


def _table(records: Sequence[Any], schema: pa.Schema, sources: dict[str, str] = _SOURCES) -> pa.Table:
    named = {**_SOURCES, **sources}
    columns = [
        pa.array([get(record) for record in records], field.type)
        for field, get in ((field, attrgetter(named.get(field.name, field.name))) for field in schema)
    ]
    return pa.Table.from_arrays(columns, schema=schema)
