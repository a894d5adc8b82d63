"""Attacks on the tables' keys: events that a merge takes for one (A9), and times that make thousands of parts (B7)."""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from runners.ingest import run_ingest
from transforms.io.clickhouse import Client, shared

EVENTS = 1_500
MOST_PARTITIONS = 184  # schemas/tables/0011
NOW = datetime(2026, 11, 20, tzinfo=UTC)
_MASK, _K = 2**64 - 1, 0x9DDFEA08EB382D69


def captured(uuid: UUID, now: datetime = NOW, event: str = "e", timestamp: datetime | None = None) -> str:
    inner: dict[str, Any] = {"event": event, "properties": {}} | ({"timestamp": timestamp.isoformat()} if timestamp else {})
    message = {"uuid": str(uuid), "distinct_id": "d", "ip": "", "data": json.dumps(inner), "now": now.isoformat(), "token": "phc_a"}
    return json.dumps(message)


def ingest(sink: str, folder: Path, messages: Iterable[str]) -> None:
    (folder / "events.jsonl").write_text("\n".join(messages))
    asked = PipelineOptions([], source=[str(folder / "events.jsonl")], sink=sink)
    run_ingest(asked, Console(stderr=True, force_terminal=False))


def hashed_alike(target: int) -> Iterable[UUID]:
    """Return uuids whose cityHash64 is `target`: for each second half there is a first half."""
    for number in range(EVENTS):
        low = 0x8000_0000_0000_0000 + number
        # CityHash64 of 16 bytes: HashLen16(first, rotated) ^ second; from its end to its beginning.
        rotated = ((low + 16) >> 16 | (low + 16) << 48) & _MASK
        inverse = pow(_K, -1, 2**64)
        mixed = (target ^ low) * inverse & _MASK
        mixed = (mixed ^ mixed >> 47) * inverse & _MASK
        mixed ^= rotated
        mixed ^= mixed >> 47
        yield UUID(int=(mixed * inverse & _MASK ^ rotated) << 64 | low)


def test_the_made_uuids_hash_alike(client: Client) -> None:
    text = ", ".join(f"'{uuid}'" for uuid in hashed_alike(7))
    assert client.rows(f"SELECT DISTINCT cityHash64(toUUID(one)) FROM (SELECT arrayJoin([{text}]) AS one)") == [(7,)]


def assert_all_stay(sink: str, events: int) -> None:
    """A merge of all parts takes none, and the audit balances."""
    client = shared(sink)
    client.command("OPTIMIZE TABLE events FINAL")
    assert client.rows("SELECT count() FROM events") == [(events,)]
    result = audit(client)
    assert (result.stored, result.balanced) == (events, True), [*map(str, result.differences)]


def test_a_merge_keeps_events_whose_uuids_hash_alike(sink: str, tmp_path: Path) -> None:
    ingest(sink, tmp_path, [captured(uuid) for uuid in hashed_alike(7)])
    assert_all_stay(sink, EVENTS)


def test_a_merge_keeps_an_id_that_comes_again_after_the_window(sink: str, tmp_path: Path) -> None:
    for days in (0, 9):
        ingest(sink, tmp_path, [captured(UUID(int=1), NOW + timedelta(days=days), timestamp=NOW - timedelta(days=1))])
    assert_all_stay(sink, 2)


def test_a_merge_keeps_one_row_of_a_delivery_that_is_stored_twice(client: Client) -> None:
    for second in (5, 3, 9):
        client.command(f"INSERT INTO events (uuid, team_id, _receipt, inserted_at) SELECT '{UUID(int=1)}', 1, 7, toDateTime64({second}, 6)")
    client.command("OPTIMIZE TABLE events FINAL")
    assert client.rows("SELECT toUnixTimestamp(inserted_at) FROM events") == [(3,)]


@pytest.mark.parametrize(
    "table", ["events", "event_ids", "dead_letters", "ingestion_warnings", "receipts", "outcomes", "replays", "doubles"]
)
def test_no_key_of_rows_that_replace_each_other_rests_on_a_hash(client: Client, table: str) -> None:
    ((key,),) = client.rows(f"SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = '{table}'")
    assert "Hash" not in key.removeprefix("team_id, toDate(timestamp), event, cityHash64(distinct_id), uuid, ")


def months(first: int) -> list[datetime]:
    return [datetime(first + n // 12, 1 + n % 12, 15, tzinfo=UTC) for n in range(EVENTS)]


def parts(client: Client) -> dict[str, int]:
    rows = client.rows("SELECT table, count() FROM system.parts WHERE database = currentDatabase() GROUP BY table")  # what was merged too
    return dict(rows)


@pytest.mark.parametrize(
    "messages",
    [
        lambda: [captured(UUID(int=n), timestamp=time) for n, time in enumerate(months(1902))],
        lambda: [captured(UUID(int=n), NOW - timedelta(days=n)) for n in range(EVENTS)],
        lambda: [captured(UUID(int=n), datetime(2105, 12, 31, tzinfo=UTC) - timedelta(days=33 * n)) for n in range(EVENTS)],
        lambda: [captured(UUID(int=n), NOW - timedelta(days=n), event="") for n in range(EVENTS)],
    ],
    ids=["months", "days_of_arrival", "far_arrivals", "letters"],
)
def test_times_that_a_client_chooses_make_few_parts(sink: str, tmp_path: Path, messages: Callable[[], list[str]]) -> None:
    ingest(sink, tmp_path, messages())
    made = parts(shared(sink))
    assert max(made[table] for table in ("events", "event_ids", "dead_letters") if table in made) <= MOST_PARTITIONS, made
    assert audit(shared(sink)).balanced


@pytest.mark.parametrize(
    ("table", "time"),
    [("events", "timestamp"), ("event_ids", "_timestamp"), ("dead_letters", "_timestamp"), ("ingestion_warnings", "timestamp")],
)
def test_there_are_so_many_partitions_at_most(client: Client, table: str, time: str) -> None:
    every = "toDateTime64('1900-01-15 00:00:00', 6, 'UTC') + toIntervalMonth(number) FROM numbers(12 * 398)"
    client.command(f"INSERT INTO {table} ({time}) SELECT {every} SETTINGS max_partitions_per_insert_block = 0")
    ((partitions,),) = client.rows(f"SELECT uniqExact(partition_id) FROM system.parts WHERE table = '{table}'")  # also of what has expired
    assert partitions == MOST_PARTITIONS


def test_a_query_reads_the_months_that_it_asks_for(client: Client) -> None:
    every = "toDateTime64('2025-01-15 00:00:00', 6, 'UTC') + toIntervalMonth(number) AS timestamp, timestamp AS _timestamp FROM numbers(24)"
    client.command(f"INSERT INTO events (timestamp, _timestamp) SELECT {every}")
    for table, condition in {
        "events": "timestamp >= '2026-03-05 00:00:00' AND timestamp < '2026-04-30 00:00:00'",
        "event_ids": "toDate(_timestamp) IN ('2026-03-15', '2026-04-15')",
    }.items():
        plan = "\n".join(row[0] for row in client.rows(f"EXPLAIN indexes = 1 SELECT count(team_id) FROM {table} WHERE {condition}"))
        assert "Parts: 2/24" in plan, plan


def test_a_look_at_some_days_reads_few_granules_of_a_month(client: Client) -> None:
    client.command(
        "INSERT INTO event_ids (bucket, inserted_at, _timestamp) SELECT number % 8 AS bucket,"
        " toDateTime64('2026-11-01 00:00:00', 6, 'UTC') + toIntervalSecond(number) AS inserted_at, inserted_at FROM numbers(2592000)"
    )
    client.command("OPTIMIZE TABLE event_ids FINAL")
    where = "bucket BETWEEN 0 AND 7 AND toDate(_timestamp) IN ('2026-11-29', '2026-11-30')"
    (line, *_), (marks,) = (
        client.rows(f"EXPLAIN ESTIMATE SELECT id FROM event_ids WHERE {where}"),
        client.rows("SELECT sum(marks) FROM system.parts WHERE active AND database = currentDatabase() AND table = 'event_ids'"),
    )
    assert line[4] < marks[0] / 8  # of 2 days in 30
