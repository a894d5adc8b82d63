"""Records as the columns of their tables."""

from collections.abc import Mapping, Sequence
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

try:
    from transforms.sink.columns import Columns
except ImportError:  # it was not compiled
    COMPILED = False
else:
    COMPILED = True

HOUR = 3_600_000_000  # microseconds

_TRANSPOSED = 512
_CREATED = int(Kind.CREATED)


def event_rows(events: Sequence[Event]) -> pa.Table:
    """Return rows of `events`."""
    return _EVENTS.of(events)


def fact_rows(facts: Sequence[Fact]) -> pa.Table:
    """Return rows of `person_properties` or `person_links`."""
    own = lru_cache(maxsize=1024)(person_id)  # facts of one event come together
    owned = [fact.kind != _CREATED and fact.person == own(fact.team_id, fact.distinct_id) for fact in facts]
    buckets = pa.array([fact.person[0] for fact in facts], pa.uint8())
    return _FACTS.of(facts, bucket=buckets, own=pa.array(owned, pa.bool_()).cast(pa.uint8()))


def group_rows(facts: Sequence[GroupFact]) -> pa.Table:
    """Return rows of `group_properties`."""
    return _GROUP_FACTS.of(facts)


def letter_rows(letters: Sequence[DeadLetter]) -> pa.Table:
    """Return rows of `dead_letters`."""
    return _DEAD_LETTERS.of(letters)


def warning_rows(warnings: Sequence[IngestionWarning]) -> pa.Table:
    """Return rows of `ingestion_warnings`."""
    return _INGESTION_WARNINGS.of(warnings)


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


class _Rows:
    """Makes rows of one table: compiled if all records are plain, else by pyarrow, which decides what a column takes.

    Args:
        schema: the table's.
        record: the type of the records.
        fields: of a record, by column, where their names differ.
        spread: columns, by a field that is a tuple of text for them, from the first on; the others are "".
        given: columns that are made elsewhere.
    """

    def __init__(
        self,
        schema: pa.Schema,
        record: type[msgspec.Struct],
        fields: Mapping[str, str],
        spread: Mapping[str, Sequence[str]] | None = None,
        given: Sequence[str] = (),
    ) -> None:
        self._schema, self._names, self._spread = schema, schema.names, spread or {}
        made = [column for column in schema if column.name not in given]
        self._made = [(column.name, fields.get(column.name, column.name), column.type) for column in made]
        if COMPILED:
            self._columns = Columns(record, pa.schema(made), fields, self._spread)

    def of(self, records: Sequence[msgspec.Struct], **given: pa.Array) -> pa.Table:
        """Return rows of records.

        Args:
            given: the columns that are made elsewhere.
        """
        if not records:
            return self._schema.empty_table()
        made = self._columns.arrays(records) if COMPILED else None
        arrays = (self._arrays(records) if made is None else made) | given
        return pa.Table.from_arrays([arrays[name] for name in self._names], schema=self._schema)

    def _arrays(self, records: Sequence[msgspec.Struct]) -> dict[str, pa.Array]:
        values = _transposed(records)
        for field, columns in self._spread.items():
            values.update(_spread(values[field], columns))
        return {name: pa.array(values[field], kind) for name, field, kind in self._made}


def _transposed(records: Sequence[msgspec.Struct]) -> dict[str, Sequence[Any]]:
    """Return the values of each field, records (one at least) transposed some at a time: all at once would miss the processor's caches."""
    names = records[0].__struct_fields__
    columns: list[list[Any]] = [[] for _ in names]
    for start in range(0, len(records), _TRANSPOSED):
        values = zip(*map(msgspec.structs.astuple, records[start : start + _TRANSPOSED]), strict=True)
        for column, part in zip(columns, values, strict=True):
            column.extend(part)
    return dict(zip(names, columns, strict=True))


def _spread(tuples: Sequence[tuple[str, ...]], columns: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the values of columns, by what there is for them."""
    if not any(tuples):
        return dict.fromkeys(columns, [""] * len(tuples))
    none = [""] * len(columns)
    padded = [(*each, *none[len(each) :]) for each in tuples]
    return dict(zip(columns, zip(*padded, strict=True), strict=True))


_SOURCE = {"_timestamp": "arrival", "_receipt": "receipt", "_offset": "offset", "_index": "index"}  # the fields of these columns
_EVENTS = _Rows(EVENTS, Event, _SOURCE, {"groups": [f"$group_{place}" for place in range(MAX_GROUP_TYPES)]})
_FACTS = _Rows(FACTS, Fact, {"person_id": "person"}, given=("bucket", "own"))
_GROUP_FACTS = _Rows(GROUP_FACTS, GroupFact, {})
_DEAD_LETTERS = _Rows(DEAD_LETTERS, DeadLetter, _SOURCE)
_INGESTION_WARNINGS = _Rows(INGESTION_WARNINGS, IngestionWarning, {**_SOURCE, "timestamp": "arrival"})
