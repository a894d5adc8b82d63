"""Checks of ClickHouse itself: version, schema, clock, disks, parts, what is read-only or stuck, and what recognises a retried insert."""

import re
from collections.abc import Callable

from pipelines.doctor.finding import Finding, Level, graded
from schemas.tables import migrations
from transforms.io.clickhouse import Client
from transforms.io.migrate import schema_version

OLDEST = (22, 2)  # which knows insert_deduplication_token
SKEW_SECONDS = (60.0, 300.0)
USED_SHARE = (0.8, 0.9)  # of a disk
PARTS_SHARE = (0.5, 0.9)  # of parts_to_throw_insert
MINUTES_OF_INSERTS = 5  # that the window should hold: an insert is tried again for one, and by the next worker again
_OURS = "database = currentDatabase()"


def check_version(client: Client) -> Finding:
    """Return whether ClickHouse answers, and is new enough."""
    ((version,),) = client.rows("SELECT version()")
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if numbers < OLDEST:
        return Finding("version", Level.FAILURE, f"{client.where} is ClickHouse {version}", f"use {OLDEST[0]}.{OLDEST[1]} or newer")
    return Finding("version", Level.OK, f"{client.where} is ClickHouse {version}")


def check_schema(client: Client) -> Finding:
    """Return whether the tables are those of this release."""
    found, needed = schema_version(client), migrations()[-1].version
    what = f"the schema is at version {found}, this release is made for {needed}"
    if found == needed:
        return Finding("schema", Level.OK, what)
    todo = "run `sluice migrate`" if found < needed else "run the release that migrated it, or a newer one"
    return Finding("schema", Level.FAILURE, what, todo)


def check_clock(client: Client, now: Callable[[], int]) -> Finding:
    """Return whether the clocks of this machine and of ClickHouse agree.

    Args:
        now: this machine's, microseconds since 1970.
    """
    before = now()
    ((theirs,),) = client.rows("SELECT toUnixTimestamp64Micro(now64(6))")
    after = now()
    ahead = ((before + after) / 2 - theirs) / 1e6
    off = max(0.0, abs(ahead) - (after - before) / 2e6)
    what = f"this machine's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} ClickHouse's"
    todo = "run NTP on both: a worker that restarts reads back the ids of the last minutes by these clocks, and could miss some"
    return graded("clock", off, *SKEW_SECONDS, what, todo)


def check_disks(client: Client, limits: tuple[float, float] = USED_SHARE) -> Finding:
    """Return how full the fullest disk is.

    Args:
        limits: shares from which it is a warning and a failure.
    """
    disks = client.rows("SELECT name, free_space, total_space FROM system.disks WHERE total_space > 0 AND free_space <= total_space")
    if not disks:
        return Finding("disks", Level.OK, "no disk says how large it is")
    name, free, total = min(disks, key=lambda disk: disk[1] / disk[2])
    what = f"disk {name}: {free / 2**30:,.0f} of {total / 2**30:,.0f} GiB are free"
    return graded(
        "disks", 1 - free / total, *limits, what, "add space, or run `sluice retain`: inserts fail when it is full, and lag grows"
    )


def check_parts(client: Client) -> Finding:
    """Return the partition that is nearest to the number of parts at which inserts are refused."""
    rows = client.rows(
        "SELECT table, partition_id, count() AS parts, any(most) FROM system.parts AS parts INNER JOIN ("
        "  SELECT name AS table, toUInt64OrZero(extract(engine_full, 'parts_to_throw_insert = (\\\\d+)')) AS own,"
        "    if(own > 0, own, (SELECT toUInt64(value) FROM system.merge_tree_settings WHERE name = 'parts_to_throw_insert')) AS most"
        f"  FROM system.tables WHERE {_OURS} AND engine LIKE '%MergeTree') AS tables USING (table)"
        f" WHERE {_OURS} AND active GROUP BY table, partition_id ORDER BY parts / any(most) DESC LIMIT 1"
    )
    if not rows:
        return Finding("parts", Level.OK, "there are no parts yet")
    ((table, partition, parts, most),) = rows
    what = f"{table}, partition {partition}: {parts:,} parts; inserts are refused from {most:,} on"
    todo = "larger inserts (fewer --splits), fewer jobs at once; look at system.merges: are they slow, stopped, or out of space?"
    return graded("parts", parts / most, *PARTS_SHARE, what, todo)


def check_read_only(client: Client) -> Finding:
    """Return which of the tables cannot be written."""
    rows = client.rows(
        f"SELECT name FROM system.tables WHERE {_OURS} AND match(engine_full, 'table_readonly = (1|true)')"
        f" UNION DISTINCT SELECT table FROM system.replicas WHERE {_OURS} AND is_readonly ORDER BY 1"
    )
    if not rows:
        return Finding("read only", Level.OK, "all tables can be written")
    names = ", ".join(row[0] for row in rows)
    return Finding(
        "read only", Level.FAILURE, f"read-only: {names}", "replicas: is Keeper there? Else: ALTER TABLE ... RESET SETTING table_readonly"
    )


def check_mutations(client: Client) -> Finding:
    """Return the mutations that fail again and again."""
    rows = client.rows(
        f"SELECT table, mutation_id, latest_fail_reason FROM system.mutations WHERE {_OURS} AND NOT is_done AND latest_fail_reason != ''"
        " ORDER BY create_time"
    )
    if not rows:
        return Finding("mutations", Level.OK, "none is stuck")
    table, mutation, reason = rows[0]
    what = f"{len(rows):,} stuck; of {table}, {mutation}: {' '.join(reason.split())[:200]}"
    return Finding(
        "mutations", Level.FAILURE, what, f"mend the cause, or KILL MUTATION WHERE mutation_id = '{mutation}'; merges wait for it"
    )


def check_insert_window(client: Client) -> Finding:
    """Return whether a retried insert is still recognised after some minutes of other inserts."""
    windows = client.rows(
        "SELECT name, toUInt64OrZero(extract(engine_full, 'deduplication_window = (\\\\d+)')) AS window"
        f" FROM system.tables WHERE {_OURS} AND name IN ('events', 'event_ids') ORDER BY window, name LIMIT 1"
    )
    ((most,),) = client.rows(
        "SELECT max(inserts) FROM (SELECT uniqExact(inserted_at) AS inserts FROM event_ids"
        " WHERE inserted_at > now() - INTERVAL 1 HOUR GROUP BY toStartOfMinute(inserted_at))"
    )
    table, window = windows[0]
    what = f"{table} recognises its last {window:,} inserts; in the busiest minute of the last hour there were {most:,}"
    todo = f"ALTER TABLE {table} MODIFY SETTING non_replicated_deduplication_window = {max(10_000, 100 * most)}, or larger inserts"
    return graded("insert window", most * MINUTES_OF_INSERTS / max(window, 1), 1, MINUTES_OF_INSERTS, what, todo)
