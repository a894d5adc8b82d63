"""`sluice squash`: rewrite `events.person_id` where it is not the person of now, partition by partition (docs/squash.md)."""

from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol
from uuid import uuid4

import msgspec

from schemas.errors import SluiceError

PREFIX = "squash_"  # of the tables that a run makes and drops
# A row may become visible so long after its inserted_at: what a skipped partition must be older than.
MARGIN_SECONDS = 600


class Client(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""

    def command(self, sql: str) -> None:
        """Run a statement."""


class Summary(msgspec.Struct):
    """What a run did.

    Attributes:
        partitions: of `events`, looked into.
        skipped: partitions in which nothing has changed since they were squashed, nor any link.
        distinct_ids: whose events were rewritten, or would be.
        rows: of `events` that were rewritten, or would be.
        dry_run: whether nothing was changed.
    """

    partitions: int = 0
    skipped: int = 0
    distinct_ids: int = 0
    rows: int = 0
    seconds: float = 0.0
    dry_run: bool = False


def squash(client: Client, dry_run: bool = False, progress: Callable[[int, int], None] | None = None) -> Summary:
    """Give all events the person that their distinct id belongs to now.

    Each partition is rewritten by one mutation, then verified, then marked in `squashes`. Nothing of the links is touched, so what
    arrives meanwhile is left for the next run. A run that was killed leaves a mutation and tables, which the next one clears away first.

    Args:
        client: where.
        dry_run: whether only to count.
        progress: called with the number of partitions done, and of all.

    Raises:
        SluiceError: after its mutation a partition still has rows that are wrong.
        Unavailable: the server does not answer.
    """
    began = monotonic()
    if not dry_run:
        _clear(client, PREFIX)
    persons = f"{PREFIX}{uuid4().hex}"
    started = _one(client, "SELECT toUnixTimestamp64Micro(now64(6))")
    partitions = [row[0] for row in client.rows("SELECT DISTINCT _partition_id FROM events ORDER BY 1")]
    summary = Summary(partitions=len(partitions), dry_run=dry_run)
    changed = [partition for partition in partitions if _has_changed(client, partition)]
    summary.skipped = len(partitions) - len(changed)
    if changed:
        client.command(
            f"CREATE TABLE {persons} (team_id Int64, distinct_id String, person_id UUID) ENGINE = MergeTree ORDER BY (team_id, distinct_id)"
        )
        client.command(f"INSERT INTO {persons} SELECT team_id, distinct_id, person_id FROM person_distinct_ids")
    for done, partition in enumerate(changed, 1):
        _squash_partition(client, partition, persons, started, summary)
        if progress is not None:
            progress(done, len(changed))
    _clear(client, persons)
    summary.seconds = round(monotonic() - began, 3)
    return summary


def _squash_partition(client: Client, partition: str, persons: str, started: int, summary: Summary) -> None:
    moves = f"{persons}_{partition}"
    # A table of the engine Join is a hash table in memory: of those distinct ids alone whose events have to change.
    columns = "team_id Int64, distinct_id String, person_id UUID, moves UInt8"
    client.command(f"CREATE TABLE {moves} ({columns}) ENGINE = Join(ANY, LEFT, team_id, distinct_id)")
    client.command(
        f"INSERT INTO {moves} SELECT DISTINCT team_id, distinct_id, now.person_id, 1"
        f" FROM (SELECT DISTINCT team_id, distinct_id, person_id FROM events WHERE _partition_id = '{partition}') AS found"
        f" INNER JOIN {persons} AS now USING (team_id, distinct_id) WHERE found.person_id != now.person_id"
    )
    join = f"'{_one(client, 'SELECT currentDatabase()')}.{moves}'"
    wrong = f"joinGet({join}, 'moves', team_id, distinct_id) = 1 AND person_id != joinGet({join}, 'person_id', team_id, distinct_id)"
    count = f"SELECT count() FROM events WHERE _partition_id = '{partition}' AND {wrong}"
    ids, rows = _one(client, f"SELECT count() FROM {moves}"), _one(client, count)
    summary.distinct_ids += ids
    summary.rows += rows
    if not summary.dry_run:
        if rows:
            client.command(
                f"ALTER TABLE events UPDATE person_id = joinGet({join}, 'person_id', team_id, distinct_id) IN PARTITION ID '{partition}'"
                f" WHERE {wrong} SETTINGS mutations_sync = 2"
            )
            if left := _one(client, f"{count} AND inserted_at < fromUnixTimestamp64Micro({started})"):
                raise SluiceError(f"partition {partition} of events: {left} rows still have another person after they were rewritten")
        client.command(
            f"INSERT INTO squashes (partition_id, started_at, distinct_ids, rows)"
            f" SELECT '{partition}', fromUnixTimestamp64Micro({started}), {ids}, {rows}"
        )
    client.command(f"DROP TABLE {moves}")


def _has_changed(client: Client, partition: str) -> bool:
    """Return whether an event of a partition, or any link, is newer than the last time that it was squashed."""
    marked = f"(SELECT max(started_at) - INTERVAL {MARGIN_SECONDS} SECOND FROM squashes WHERE partition_id = '{partition}')"
    return bool(
        _one(client, f"SELECT count() FROM squashes WHERE partition_id = '{partition}'") == 0
        or _one(client, f"SELECT max(inserted_at) >= {marked} FROM person_links WHERE kind IN ('identified', 'link', 'forced')")
        or _one(client, f"SELECT max(inserted_at) >= {marked} FROM events WHERE _partition_id = '{partition}'")
    )


def _clear(client: Client, prefix: str) -> None:
    """Stop the mutations of one run, or of all that were killed, and drop their tables."""
    client.command(
        f"KILL MUTATION WHERE database = currentDatabase() AND table = 'events' AND NOT is_done AND position(command, '{prefix}') > 0 SYNC"
    )
    tables = client.rows(f"SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, '{prefix}')")
    for (table,) in tables:
        client.command(f"DROP TABLE IF EXISTS {table} SYNC")


def _one(client: Client, sql: str) -> Any:
    return client.rows(sql)[0][0]
