"""Whether `events` and what its views keep of it agree, and how they are made to: `event_ids`, `unchecked_ids`, `usage`.

ClickHouse commits the part of `events` first and its views' parts up to 50 ms later, one after the other, and may die in between. Then
rows are missing in the views' tables. After a power cut, or when somebody drops a partition by hand, rows of `events` are missing, whose
ids would block their being ingested again. `events` is right in both cases. All of it may be done twice, by several at once, and be
killed half-way.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha1
from typing import Any, NamedTuple, Protocol

import msgspec
import pyarrow as pa

from schemas.errors import SluiceError
from schemas.limits import WINDOW_DAYS
from transforms.io.clickhouse.frontier import Frontier, frontier

MINUTE = 60_000_000  # microseconds, which moments are counted in
DAY = 86_400_000_000
# What was inserted so long before the last verified moment is compared again.
MARGIN = 2 * MINUTE
# A database that was never verified is compared as far back as jobs look for duplicates.
FIRST = (WINDOW_DAYS + 1) * DAY
USAGE_DAYS = 39  # hours of arrival that `usage` still has: it keeps them for a day longer
ATTEMPTS = 5

IDENTITY = "inserted_at, _receipt, _offset, _index"
_KEPT = f"team_id, uuid, _timestamp, {IDENTITY}"
# `id` is schemas.identity.unique_key; views list these columns.
_ID = "toFixedString(substring(SHA1(concat(reinterpretAsFixedString(team_id), UUIDStringToNum(toString(uuid)))), 1, 16), 16) AS id"
_LISTED = {"event_ids": f"reinterpretAsUInt8(substring(id, 1, 1)) AS bucket, {_ID}, {_KEPT}", "unchecked_ids": f"{_ID}, {_KEPT}"}
_COLUMNS = {"event_ids": f"bucket, id, {_KEPT}", "unchecked_ids": f"id, {_KEPT}"}
_USAGE = pa.schema(
    {"team_id": pa.int64(), "hour": pa.timestamp("s", tz="UTC"), "minute": pa.timestamp("s", tz="UTC"), "events": pa.uint64()}
)

Sum = tuple[int, int]  # of rows: their number, and the XOR of their hashes


class Client(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""

    def command(self, sql: str) -> None:
        """Run a statement."""

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Insert rows; those that come again with the token of others are not stored."""


class Verification(msgspec.Struct):
    """What a verification found, and mended.

    Attributes:
        verified: what was inserted before this moment agrees now.
        counted: the same of `usage`, which is compared by the minute.
        event_ids, unchecked_ids: rows that were put back.
        lost: ids that were taken out, since no row of `events` has them.
        usage: events that were added to `usage`, or taken off.
    """

    verified: int = 0
    counted: int = 0
    event_ids: int = 0
    unchecked_ids: int = 0
    lost: int = 0
    usage: int = 0


def verify(client: Client, days: Sequence[str] = ()) -> Verification:
    """Compare what was inserted since the last verified moment, mend what differs, and note the moment.

    Rows of inserts that may be at work still are left for the next time.

    Args:
        client: where.
        days: of arrival, quoted, whose ids are compared too, whenever they were inserted.

    Raises:
        SluiceError: tables differ after they were mended.
    """
    until, last, pruned = frontier(client), *client.rows(_KNOWN)[0]
    since = last - MARGIN if last else until.moment - FIRST
    done = Verification(until.moment)
    scopes = [("event_ids", _within(since, until.moment)), ("unchecked_ids", _within(max(since, pruned), until.moment))]
    if days:
        scopes.append(("event_ids", f"toDate(_timestamp) IN ({', '.join(days)}) AND {_within(0, until.moment)}"))
    for table, scope in scopes:
        for minute in _differing(client, table, scope):
            _mend(client, table, f"{scope} AND {_within(minute, minute + MINUTE)}", done)
    done.counted = _countable(client, until)
    done.usage = _mend_usage(client, since, done.counted)
    _note(client, done)
    return done


# Doubles that were looked for are pruned from unchecked_ids: pipelines/compact.py, MARGIN and OVERLAP.
_KNOWN = """
SELECT toUnixTimestamp64Micro((SELECT max(verified) FROM verifications)),
    toUnixTimestamp64Micro((SELECT max(started_at) FROM compactions)) - 1200000000
"""


def _within(since: int, until: int) -> str:
    return f"inserted_at >= fromUnixTimestamp64Micro({since}) AND inserted_at < fromUnixTimestamp64Micro({until})"


# Ids.


def _differing(client: Client, table: str, where: str) -> list[int]:
    """Return the minutes of insert in which a view's table has other rows than `events`, of those that a condition selects."""
    of_events, listed = _sums(client, "events", where), _sums(client, table, where)
    return sorted(minute for minute in of_events.keys() | listed.keys() if of_events.get(minute) != listed.get(minute))


def _sums(client: Client, table: str, where: str) -> dict[int, Sum]:
    minutes = (
        f"SELECT toUnixTimestamp(toStartOfMinute(inserted_at)) AS minute, count(), groupBitXor(cityHash64({IDENTITY}))"
        f" FROM {table} WHERE {where} GROUP BY minute"
    )
    return {minute * 1_000_000: (count, xor) for minute, count, xor in client.rows(minutes)}


def _mend(client: Client, table: str, where: str, done: Verification) -> None:
    done.lost += take_out(client, where)
    put = put_back(client, table, where)
    setattr(done, table, getattr(done, table) + put)


def put_back(client: Client, table: str, where: str) -> int:
    """List in a view's table what it lacks of the rows of `events` that a condition selects, and return how many those were.

    Raises:
        SluiceError: they are missing still.
    """
    lacking, first = missing(table, where), 0
    for attempt in range(ATTEMPTS):
        count, xor = client.rows(f"SELECT count(), groupBitXor(cityHash64({IDENTITY})) {lacking}")[0]
        if not count:
            return first
        first = first or count
        token = f"verify:{table}:{count}:{xor}:{attempt}"  # so that of two at once only one does it; a token of the dead is used up
        client.command(
            f"INSERT INTO {table} ({_COLUMNS[table]}) SELECT {_COLUMNS[table]} FROM (SELECT {_LISTED[table]} {lacking})"
            f" SETTINGS insert_deduplication_token = '{token}', max_threads = 1, max_insert_threads = 1,"
            " max_partitions_per_insert_block = 0"
        )
    raise SluiceError(f"{table} lacks {count} rows of events, and does not keep them: see system.errors")


def missing(table: str, where: str) -> str:
    """Return the end of a query, from its FROM on, of the rows of `events` that a view's table lacks."""
    return f"FROM events WHERE {where} AND ({IDENTITY}) NOT IN (SELECT {IDENTITY} FROM {table} WHERE {where})"


def take_out(client: Client, where: str) -> int:
    """Take out of `event_ids` and `unchecked_ids` what has no row in `events`, and return how many ids those were.

    What is left out: the row of a double, which `compact` or a merge has removed. An earlier row of its id is there.
    """
    if not client.rows(f"SELECT count() FROM ({_unbacked(where)})")[0][0]:
        return 0
    ((found_at,),) = client.rows("SELECT toUnixTimestamp64Micro(now64(6))")
    recorded = f"FROM lost_ids WHERE found_at = fromUnixTimestamp64Micro({found_at})"
    client.command(f"INSERT INTO lost_ids ({_KEPT}, found_at) SELECT {_KEPT}, fromUnixTimestamp64Micro({found_at}) FROM ({lost(where)})")
    count = int(client.rows(f"SELECT count() {recorded}")[0][0])
    for table in ("unchecked_ids", "event_ids") if count else ():
        gone = f"({IDENTITY}) IN (SELECT {IDENTITY} {recorded})"
        client.command(f"DELETE FROM {table} WHERE {where} AND {gone} SETTINGS lightweight_deletes_sync = 2")
    return count


def _unbacked(where: str) -> str:
    """Return a query of what is listed without its row in `events`."""
    listed = " UNION DISTINCT ".join(f"SELECT {_KEPT} FROM {table} WHERE {where}" for table in _COLUMNS)
    return f"SELECT * FROM ({listed}) WHERE ({IDENTITY}) NOT IN (SELECT {IDENTITY} FROM events WHERE {where})"


def lost(where: str) -> str:
    """Return a query of what is listed without a row in `events`, nor an earlier one of its id: such an event cannot be ingested again."""
    there = f"SELECT team_id, uuid, min(({IDENTITY})) AS first, 1 AS is_there FROM events"
    return (
        f"SELECT {_KEPT} FROM ({_unbacked(where)}) AS listed LEFT JOIN ({there}"
        f" WHERE uuid IN (SELECT uuid FROM ({_unbacked(where)})) GROUP BY team_id, uuid) AS stored USING (team_id, uuid)"
        f" WHERE is_there = 0 OR first > ({IDENTITY}) SETTINGS join_use_nulls = 0"
    )


def forget_lost(client: Client, kept_from: int, dry_run: bool = False) -> int:
    """Take out of `event_ids`, `unchecked_ids` and `usage` all that has no row in `events`, whenever it was stored; return how many ids.

    Args:
        client: where.
        kept_from: what arrived before is being dropped, and not lost; seconds since 1970.
        dry_run: whether only to count.
    """
    until = frontier(client)
    scope = f"_timestamp >= toDateTime({kept_from}, 'UTC') AND {_within(0, until.moment)}"
    found = 0
    for minute in _differing(client, "event_ids", scope):
        where = f"{scope} AND {_within(minute, minute + MINUTE)}"
        found += int(client.rows(f"SELECT count() FROM ({lost(where)})")[0][0]) if dry_run else take_out(client, where)
    if not dry_run:  # else a quota would refuse what comes again: also if another run was killed before it came to this
        _mend_usage(client, until.moment - USAGE_DAYS * DAY, _countable(client, until))
    return found


# Usage.


class _Hour(NamedTuple):
    """What `usage` counts by: a team, the hour of arrival, and the minute of insert; seconds since 1970."""

    team: int
    hour: int
    minute: int


def _countable(client: Client, until: Frontier) -> int:
    """Return up to when `usage` can be compared: the end of the last minute before the frontier, or the frontier if nobody inserts."""
    later = f"SELECT count() FROM events WHERE inserted_at >= fromUnixTimestamp64Micro({until.moment})"
    quiet = not until.running and not client.rows(later)[0][0] and not frontier(client).running
    return until.moment if quiet else until.moment // MINUTE * MINUTE


def _mend_usage(client: Client, since: int, until: int) -> int:
    """Add to `usage` what it lacks, or take off what it has too much, and return how many events those are."""
    total = 0
    start = max(since, client.rows(_USAGE_SINCE)[0][0]) // MINUTE * MINUTE
    for attempt in range(ATTEMPTS):
        differences = list(_usage_differences(client, start, until)) if start < until else []
        if not differences:
            return total
        total = total or sum(events for _, events in differences)
        token = sha1(repr((differences, attempt)).encode()).hexdigest()
        client.insert("usage", _usage_rows(differences), token=f"verify:{token}")
    raise SluiceError("usage differs from event_ids, and does not keep what is added: see system.errors and the log of ClickHouse")


def _usage_rows(differences: Iterable[tuple[_Hour, int]]) -> pa.Table:
    """Return rows that make up for differences. Sums of UInt64 wrap: what is to be taken off is added as 2 ** 64 less."""
    columns = zip(*((*key, events % 2**64) for key, events in differences), strict=True)
    names = _USAGE.names
    return pa.table({name: pa.array(values, _USAGE.field(name).type) for name, values in zip(names, columns, strict=True)})


def _usage_differences(client: Client, start: int, until: int) -> Iterator[tuple[_Hour, int]]:
    counted = {_Hour(*row[:3]): row[3] for row in client.rows(_USAGE_OF.format(start=start // 1_000_000, end=-(-until // 1_000_000)))}
    expected = {_Hour(*row[:3]): row[3] for row in client.rows(_EXPECTED.format(where=_within(start, until)))}
    for key in sorted(counted.keys() | expected.keys()):
        if difference := expected.get(key, 0) - counted.get(key, 0):
            yield key, difference


# Rows of before the migration have no minute.
_USAGE_SINCE = """
SELECT if((SELECT count() FROM usage WHERE minute = 0) = 0, 0, toUnixTimestamp64Micro((SELECT max(applied_at) FROM sluice_migrations
    WHERE version = 8)) + 120000000)
"""
_RECENT = f"hour > now() - INTERVAL {USAGE_DAYS} DAY"
_USAGE_OF = f"""
SELECT team_id, toUnixTimestamp(hour), toUnixTimestamp(minute), toInt64(sum(events)) AS counted FROM usage
WHERE minute >= toDateTime({{start}}) AND minute < toDateTime({{end}}) AND {_RECENT} GROUP BY team_id, hour, minute
"""
# A double counts as two events, whether it is removed or not. A row may be in both, and twice in one.
_EXPECTED = f"""
SELECT team_id, toUnixTimestamp(toStartOfHour(toDateTime(_timestamp, 'UTC')) AS hour), toUnixTimestamp(toStartOfMinute(inserted_at)) AS m,
    toInt64(uniqExact(({IDENTITY}))) AS expected
FROM (SELECT {_KEPT} FROM event_ids WHERE {{where}} UNION ALL SELECT {_KEPT} FROM doubles WHERE {{where}})
WHERE {_RECENT} GROUP BY team_id, hour, m
"""


def _note(client: Client, done: Verification) -> None:
    client.command(
        "INSERT INTO verifications (verified, event_ids, unchecked_ids, lost, usage) SELECT"
        f" fromUnixTimestamp64Micro({done.verified}), {done.event_ids}, {done.unchecked_ids}, {done.lost}, {done.usage}"
    )
