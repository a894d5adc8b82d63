"""`sluice retain`: drop what arrived before a day from all tables together, and write down that it is dropped (docs/retain.md)."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple, Protocol

import msgspec

from schemas.errors import ConfigError
from schemas.limits import WINDOW_DAYS
from transforms.io.clickhouse import QueryError
from transforms.retentions import dropped_before

# A part that is to be dropped may have been merged meanwhile: there is none of that name, or it is at work.
NO_SUCH_PART, PART_IS_LOCKED = 232, 384


class Client(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""

    def command(self, sql: str) -> None:
        """Run a statement."""


class Summary(msgspec.Struct):
    """What a run did.

    Attributes:
        before: the first day of arrival that is kept, ISO 8601.
        rows: removed, by table.
        dry_run: whether nothing was changed.
    """

    before: str
    rows: dict[str, int] = {}
    seconds: float = 0.0
    dry_run: bool = False


class Cut(NamedTuple):
    """What is due in a table: a condition, in which `{day}` is the first moment that is kept."""

    table: str
    is_due: str


# A receipt of which nothing is left to prove. The last one of a source says how far that was read; and what a range of a file that is still
# open covers, an older receipt may have.
_SETTLED_RECEIPT = """receipt IN (
    SELECT receipt FROM receipts FINAL WHERE written_at < {day} AND receipt NOT IN (SELECT receipt FROM outcomes WHERE hour >= {day})
        AND receipt NOT IN (SELECT argMax(receipt, (end, written_at)) FROM receipts WHERE status = 'acknowledged' GROUP BY source)
        AND source NOT IN (SELECT source FROM receipts FINAL WHERE status = 'open' AND written_at >= {day}
            AND NOT match(source, '^(kafka|pubsub|letters)://')))"""

# In this order each id is shown once at most at any moment: the list by which `events_unique` hides the second row of an id goes after the
# first row. Ids go after their rows: before, they could be stored again. The ledger goes last.
CUTS = (
    Cut("events", "_timestamp < {day}"),
    Cut("unchecked_ids", "_timestamp < {day}"),
    Cut("event_ids", "_timestamp < {day}"),
    Cut("doubles", "_timestamp < {day}"),
    Cut("lost_ids", "_timestamp < {day}"),
    Cut("usage", "hour < {day}"),
    Cut("dead_letters", "_timestamp < {day}"),
    Cut("replays", "written_at < {day}"),
    Cut("ingestion_warnings", "timestamp < {day}"),
    Cut("outcomes", "hour < {day}"),
    Cut("receipts", _SETTLED_RECEIPT),
)


FIRST = date(1970, 1, 1)


def first_kept(client: Client, months: int | None, before: date | None) -> date:
    """Return the first day that is kept: of the month that was so many months ago, or the one that is named.

    Args:
        client: whose clock counts.
        months: whole ones that are kept, before the current one.
        before: the day.

    Raises:
        ConfigError: neither or both are given, or a stream may not have stored yet what would be dropped.
    """
    if (months is None) == (before is None):
        raise ConfigError("give either --months or --before", "for example --months 13: this month, and 13 whole ones")
    ((today,),) = client.rows("SELECT toDate(now('UTC'))")
    if before is None:
        most = (today.year - FIRST.year) * 12 + today.month - 1
        if months is None or not 1 <= months <= most:
            raise ConfigError(f"--months is {months}", f"it is at least 1, and at most {most}: no arrival is before {FIRST}")
        year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
        return date(year, month + 1, 1)
    if before > (latest := today - timedelta(days=WINDOW_DAYS + 1)):
        raise ConfigError(f"--before is {before}, but at most {latest}", "what a stream has not stored yet would be refused")
    if before < FIRST:
        raise ConfigError(f"--before is {before}, but at least {FIRST}", "no arrival is before that day")
    return before


def retain(client: Client, before: date, dry_run: bool = False, progress: Callable[[str], None] | None = None) -> Summary:
    """Drop what arrived before a day, or before a later one that was dropped already.

    The day is written down first: from then on `audit` does not ask for what was there, and jobs refuse what comes again. A run that was
    killed is finished by the next one, which removes what has slipped in meanwhile, too.

    Args:
        client: where.
        before: the first day that is kept, in UTC.
        dry_run: whether only to count.
        progress: called with each table's name before it is looked at.

    Raises:
        Unavailable: the server does not answer.
    """
    began = monotonic()
    first = max(before, datetime.fromtimestamp(dropped_before(client), UTC).date())
    summary = Summary(first.isoformat(), dry_run=dry_run)
    ((started,),) = client.rows("SELECT toUnixTimestamp64Micro(now64(6))")
    if not dry_run:
        _record(client, summary, started, finished=False)
    for table, is_due in CUTS:
        if progress is not None:
            progress(table)
        condition = is_due.format(day=f"toDateTime('{first}', 'UTC')")
        rows = _count(client, table, condition) if dry_run else _delete(client, table, condition)
        if rows:
            summary.rows[table] = rows
    if not dry_run:
        _record(client, summary, started, finished=True)
    summary.seconds = round(monotonic() - began, 3)
    return summary


def _record(client: Client, summary: Summary, started: int, finished: bool) -> None:
    rows = ", ".join(f"'{table}', {rows}" for table, rows in summary.rows.items())
    client.command(
        f"INSERT INTO retentions (before, started_at, finished, rows) SELECT toDate('{summary.before}'),"
        f" fromUnixTimestamp64Micro({started}), {finished}, CAST(map({rows}), 'Map(String, UInt64)')"
    )


def _count(client: Client, table: str, is_due: str) -> int:
    ((rows,),) = client.rows(f"SELECT count() FROM {table} WHERE {is_due}")
    return int(rows)


def _delete(client: Client, table: str, is_due: str) -> int:
    """Delete what is due, and return how many rows that were.

    Parts of which all is due are dropped by their names, which costs nothing. A part never changes, while a partition could have got a row
    meanwhile that is to be kept. The others are written anew.
    """
    parts = list(_due_parts(client, table, is_due))
    left = {part.partition for part in parts if not (part.is_whole and _drop(client, table, part.name))}
    for partition in sorted(left):
        client.command(f"ALTER TABLE {table} DELETE IN PARTITION ID '{partition}' WHERE {is_due} SETTINGS mutations_sync = 2")
    return sum(part.due for part in parts)


class _Part(NamedTuple):
    """A part of a table that has rows that are due."""

    name: str
    partition: str
    due: int
    is_whole: bool


def _due_parts(client: Client, table: str, is_due: str) -> Iterator[_Part]:
    for name, partition, due, rows in client.rows(
        f"SELECT _part, any(_partition_id), countIf({is_due}) AS due, count() FROM {table}"
        f" WHERE _part IN (SELECT DISTINCT _part FROM {table} WHERE {is_due}) GROUP BY _part HAVING due > 0 ORDER BY _part"
    ):
        yield _Part(name, partition, due, due == rows)


def _drop(client: Client, table: str, part: str) -> bool:
    """Drop a part; return whether it was there."""
    try:
        client.command(f"ALTER TABLE {table} DROP PART '{part}'")
    except QueryError as error:
        if error.code not in (NO_SUCH_PART, PART_IS_LOCKED):
            raise
        return False
    return True
