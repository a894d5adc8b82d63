"""`sluice compact`: find the doubles of `events`, keep the first stored row of each id, delete the others, and report (docs/compact.md)."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import msgspec

from schemas.errors import SluiceError
from schemas.identity import BUCKETS
from schemas.limits import WINDOW_DAYS
from transforms.io.clickhouse.frontier import moment
from transforms.retentions import dropped_before
from transforms.sink.verify import Client, forget_lost, put_back, verify

# Jobs read what others have stored each half minute: between the inserts of two rows of a double lie so many seconds at most.
OVERLAP = 600
# A row may become visible so many seconds after its inserted_at.
MARGIN = 600
FULL_EVERY = 86_400  # seconds
SECOND = 1_000_000  # microseconds, which moments are counted in
# Of `event_ids`, whose ids are held at once. One takes about 50 bytes.
ROWS_AT_ONCE = 4_000_000

_IDENTITY = "inserted_at, _receipt, _offset, _index"
_COLUMNS = f"team_id, uuid, _timestamp, {_IDENTITY}"
_PENDING = "doubles FINAL WHERE removed_at = 0"
# The first condition is what an index of `events` and of `event_ids` knows of.
_IS_PENDING = f"inserted_at IN (SELECT inserted_at FROM {_PENDING}) AND ({_IDENTITY}) IN (SELECT {_IDENTITY} FROM {_PENDING})"
_IS_KEPT = f"inserted_at IN (SELECT kept.1 FROM {_PENDING}) AND ({_IDENTITY}) IN (SELECT kept FROM {_PENDING})"


class Summary(msgspec.Struct):
    """What a run did.

    Attributes:
        full: whether it looked at all that arrived in the last 8 days, and not only at what was stored since the last run.
        rows: of `event_ids` or `unchecked_ids` that were looked at.
        found: doubles.
        removed: rows of `events` that were deleted; the table may have merged some away by itself.
        forgotten: ids that were listed and had no row in `events`, whenever they were stored: if asked for.
        put_back: rows that `event_ids` or `unchecked_ids` lacked.
        causes: doubles by cause; of a full dry run only those of which a row is new.
        alarms: what endangers the promise of unique ids, and what to do about it.
        dry_run: whether nothing was changed.
    """

    full: bool = False
    rows: int = 0
    found: int = 0
    removed: int = 0
    forgotten: int = 0
    put_back: int = 0
    causes: dict[str, int] = {}
    alarms: list[str] = []
    seconds: float = 0.0
    dry_run: bool = False


def compact(
    client: Client,
    full: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
    lost: bool = False,
) -> Summary:
    """Leave one row an id in `events`: the first stored.

    Doubles are recorded in `doubles` before anything is deleted, and only recorded rows are: what is inserted meanwhile is left alone. A
    run that was killed leaves records, which the next one deletes.

    Args:
        client: where.
        full: whether to look at all that arrived lately in any case; without it, once a day.
        dry_run: whether only to count.
        progress: called with the number of parts of a full run done, and of all.
        lost: whether to forget the ids of all rows that are gone from `events`, so that they can be stored again.

    Raises:
        SluiceError: a row could not be removed, or the row that should stay is not there.
        Unavailable: the server does not answer.
    """
    began = monotonic()
    started, last_full = moment(client).now, client.rows(_LAST_FULL)[0][0]
    summary = Summary(full=full or started - last_full >= FULL_EVERY * SECOND, dry_run=dry_run)
    if lost:
        summary.forgotten = forget_lost(client, dropped_before(client), dry_run)
    if not dry_run:
        _forget_pending(client)
    days = _days(client, last_full) if summary.full else []
    if not dry_run:
        started = min(started, _verify(client, days, summary))
    if days:
        _look_at(client, days, summary, progress)
    else:
        summary.rows = _one(client, "SELECT count() FROM unchecked_ids")
    summary.causes = _causes(client)
    summary.found = max(summary.found, sum(summary.causes.values()))
    if not dry_run:
        summary.alarms += _distant(client, summary.found) + _late(started, last_full, summary.found)
        _remove(client, summary)
        _finish(client, started, summary)
    summary.seconds = round(monotonic() - began, 3)
    return summary


_LAST_FULL = "SELECT toUnixTimestamp64Micro(maxIf(started_at, full)) FROM compactions"


def _verify(client: Client, days: list[str], summary: Summary) -> int:
    """List what `events` has and its views' tables lack, take out of them what it has not, and return up to when they agree."""
    done = verify(client, days)
    summary.put_back = done.event_ids + done.unchecked_ids
    if done.lost:
        summary.alarms = [
            f"{done.lost} ids were listed that events has no row of. They are taken out, and can be ingested again:"
            " see lost_ids, and `sluice audit`"
        ]
    return done.verified


# Forgetting what is gone.


def _forget_pending(client: Client) -> None:
    """Forget the doubles of rows that are gone from all tables, since their day was dropped: what is left of an id is judged anew."""
    if not _one(client, f"SELECT count() FROM {_PENDING}"):
        return
    is_gone = " AND ".join(
        f"kept NOT IN (SELECT {_IDENTITY} FROM {table} WHERE {_IS_KEPT})" for table in ("events", "event_ids", "unchecked_ids")
    )
    gone = f"{_PENDING} AND {is_gone}"
    if _one(client, f"SELECT count() FROM {gone}"):
        client.command(f"ALTER TABLE doubles DELETE WHERE ({_IDENTITY}) IN (SELECT {_IDENTITY} FROM {gone}) SETTINGS mutations_sync = 2")


# Looking.


def _days(client: Client, last_full: int) -> list[str]:
    """Return the days of arrival of a full run: the last ones, and those for which something was stored since the last full run."""
    since = f"fromUnixTimestamp64Micro({last_full}) - INTERVAL {MARGIN + OVERLAP} SECOND"
    rows = client.rows(
        "SELECT DISTINCT toString(toDate(_timestamp)) AS day FROM event_ids"
        f" WHERE toDate(_timestamp) >= toDate(now('UTC')) - {WINDOW_DAYS} OR inserted_at >= {since} ORDER BY day"
    )
    return [f"'{day}'" for (day,) in rows]


def _look_at(client: Client, days: list[str], summary: Summary, progress: Callable[[int, int], None] | None) -> None:
    """List all rows of the ids that have several rows in some days, a range of buckets at a time."""
    arrived = f"toDate(_timestamp) IN ({', '.join(days)})"
    summary.rows = _one(client, f"SELECT count() FROM event_ids WHERE {arrived}")
    ranges = list(_ranges(summary.rows))
    for done, (first, last) in enumerate(ranges, 1):
        part = f"FROM event_ids WHERE bucket BETWEEN {first} AND {last} AND {arrived}"
        repeated = f"SELECT id {part} GROUP BY id HAVING count() > 1"
        if summary.dry_run:
            summary.found += _one(client, f"SELECT count() - uniqExact(id) {part} AND id IN ({repeated})")
        else:
            listed = f"SELECT {_IDENTITY} FROM unchecked_ids WHERE id IN ({repeated})"
            new = f"{part} AND id IN ({repeated}) AND ({_IDENTITY}) NOT IN ({listed})"
            client.command(f"INSERT INTO unchecked_ids (id, {_COLUMNS}) SELECT id, {_COLUMNS} {new}")
        if progress is not None:
            progress(done, len(ranges))


def _ranges(rows: int) -> Iterator[tuple[int, int]]:
    """Return ranges of buckets, first and last, of about `ROWS_AT_ONCE` rows each."""
    width = max(1, BUCKETS * ROWS_AT_ONCE // max(rows, ROWS_AT_ONCE))
    for first in range(0, BUCKETS, width):
        yield first, min(first + width, BUCKETS) - 1


# The doubles among what is listed, with their causes. A run's id says when it started, and its receipts when it was last heard of.
_JUDGED = """
WITH origins AS (
    SELECT receipt, any(source) AS source, any(run) AS run FROM receipts
    WHERE receipt IN (SELECT arrayJoin([_receipt, kept.2]) FROM unchecked_doubles) GROUP BY receipt
), lives AS (
    SELECT run, UUIDv7ToDateTime(run) AS began, max(written_at) AS ended FROM receipts
    WHERE run IN (SELECT run FROM origins) GROUP BY run
), known AS (
    SELECT receipt, source, run, began, ended, 1 AS is_known FROM origins INNER JOIN lives USING (run)
)
SELECT doubles.*, multiIf(
    (_receipt, _offset, _index) = (kept.2, kept.3, kept.4), 'retried',
    mine.is_known = 0 OR theirs.is_known = 0, 'unknown',
    mine.run != theirs.run AND greatest(mine.began, theirs.began) < least(mine.ended, theirs.ended), 'two_jobs',
    mine.source = theirs.source AND (_offset, _index) = (kept.3, kept.4), 'redelivered',
    'client_retry') AS cause
FROM (SELECT *, kept.2 AS kept_receipt FROM unchecked_doubles) AS doubles
LEFT JOIN known AS mine ON mine.receipt = doubles._receipt
LEFT JOIN known AS theirs ON theirs.receipt = doubles.kept_receipt
SETTINGS join_use_nulls = 0
"""


def _causes(client: Client) -> dict[str, int]:
    if not _one(client, "SELECT count() FROM unchecked_doubles"):
        return {}  # as nearly always
    return dict(client.rows(f"SELECT cause, count() FROM ({_JUDGED}) GROUP BY cause ORDER BY cause"))


def _distant(client: Client, found: int) -> list[str]:
    """Return an alarm if rows of a double were stored further apart than `OVERLAP`, though they arrived within the window."""
    count = found and _one(
        client,
        f"SELECT count() FROM unchecked_doubles AS later INNER JOIN (SELECT DISTINCT ({_IDENTITY}) AS kept, _timestamp FROM unchecked_ids"
        f" WHERE ({_IDENTITY}) IN (SELECT kept FROM unchecked_doubles)) AS first USING (kept)"
        f" WHERE dateDiff('microsecond', kept.1, later.inserted_at) > {OVERLAP * SECOND}"
        f" AND abs(dateDiff('microsecond', first._timestamp, later._timestamp)) <= {WINDOW_DAYS * 86_400 * SECOND}",
    )
    if not count:
        return []
    return [
        f"{count} doubles were stored more than {OVERLAP} seconds apart: a job did not see what was stored long before. They are removed."
        " Keep the table `doubles`, and report it"
    ]


# Removing.


def _remove(client: Client, summary: Summary) -> None:
    """Record what was found, and delete all that is recorded.

    Raises:
        SluiceError: a row is left, or the row that should stay is not there.
    """
    if summary.found:
        client.command(f"INSERT INTO doubles ({_COLUMNS}, kept, cause) SELECT {_COLUMNS}, kept, cause FROM ({_JUDGED})")
    if not _one(client, f"SELECT count() FROM {_PENDING}"):
        return
    put_back(client, "event_ids", _IS_KEPT)
    _check_kept(client)
    summary.removed = _one(client, f"SELECT count() FROM events WHERE {_IS_PENDING}")
    recorded = _one(client, "SELECT toUnixTimestamp64Micro(now64(6))")
    for table in ("events", "event_ids"):
        _delete(client, table)
    _mark_removed(client)
    if left := _one(client, f"SELECT count() FROM {_PENDING} AND found_at < fromUnixTimestamp64Micro({recorded})"):
        raise SluiceError(
            f"{left} rows of events that are doubles are there after they were deleted: see system.mutations, and run it again"
        )


def _delete(client: Client, table: str) -> None:
    """Delete what is pending, in one mutation: whatever the partition, each waits for all parts of a table."""
    rows = client.rows(f"SELECT DISTINCT _partition_id FROM {table} WHERE {_IS_PENDING} ORDER BY 1")
    partitions = ", ".join(f"'{partition}'" for (partition,) in rows)
    if partitions:
        client.command(f"DELETE FROM {table} WHERE _partition_id IN ({partitions}) AND {_IS_PENDING} SETTINGS lightweight_deletes_sync = 2")


def _check_kept(client: Client) -> None:
    """Raise if deleting would leave no row of an id."""
    there = f"({_IDENTITY}) IN (SELECT {_IDENTITY} FROM events WHERE {_IS_PENDING})"
    if lost := _one(
        client, f"SELECT count() FROM {_PENDING} AND {there} AND kept NOT IN (SELECT {_IDENTITY} FROM events WHERE {_IS_KEPT})"
    ):
        raise SluiceError(
            f"{lost} rows of events are doubles of rows that event_ids has and events has not: nothing was deleted."
            " Run `sluice compact --forget-lost`, and ingest their source again (docs/audit.md)"
        )


def _mark_removed(client: Client) -> None:
    """Mark what is gone, and not what another run has recorded meanwhile."""
    columns = f"{_COLUMNS}, kept, cause, found_at"
    gone = [f"({_IDENTITY}) NOT IN (SELECT {_IDENTITY} FROM {table} WHERE {_IS_PENDING})" for table in ("events", "event_ids")]
    client.command(f"INSERT INTO doubles ({columns}, removed_at) SELECT {columns}, now64(6) FROM {_PENDING} AND {' AND '.join(gone)}")


# Ending.


def _late(started: int, last_full: int, found: int) -> list[str]:
    """Return an alarm if doubles could be there for longer than the window."""
    days = (started - last_full) / (86_400 * SECOND)
    if not found or not last_full or days <= WINDOW_DAYS:
        return []
    return [f"the last full run is {days:.0f} days ago, and there were doubles: run it at least daily"]


def _finish(client: Client, started: int, summary: Summary) -> None:
    """Forget what was checked, but for what the next rows can be doubles of, and note the run."""
    if summary.found:
        removed = (
            f"SELECT {_IDENTITY} FROM doubles FINAL WHERE removed_at > 0 AND inserted_at >= (SELECT min(inserted_at) FROM unchecked_ids)"
        )
        client.command(f"ALTER TABLE unchecked_ids DELETE WHERE ({_IDENTITY}) IN ({removed}) SETTINGS mutations_sync = 2")
    checked = f"inserted_at < fromUnixTimestamp64Micro({started - (MARGIN + OVERLAP) * SECOND})"
    if _one(client, f"SELECT count() FROM unchecked_ids WHERE {checked}"):
        # of another run that is at work
        others = f"SELECT arrayJoin([({_IDENTITY}), kept]) FROM unchecked_doubles"
        client.command(f"ALTER TABLE unchecked_ids DELETE WHERE {checked} AND ({_IDENTITY}) NOT IN ({others}) SETTINGS mutations_sync = 2")
    causes = ", ".join(f"'{cause}', {count}" for cause, count in summary.causes.items())
    client.command(
        f"INSERT INTO compactions (started_at, full, found, rows_removed) SELECT fromUnixTimestamp64Micro({started}), {summary.full},"
        f" map({causes}), {summary.removed}"
    )


def _one(client: Client, sql: str) -> Any:
    return client.rows(sql)[0][0]
