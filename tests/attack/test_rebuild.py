"""Five million events of an older release are copied into the tables of now, in processes that are killed at random moments."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transforms.io.old_database import EVENTS, assert_whole, contents
from tests.transforms.io.test_rebuild import Old, kill_and_go_on
from transforms.io.clickhouse import Client, close_all

ROWS = 5_000_000
RECEIPT_ROWS = 5_000
KILLS = 12

_HOUR = "toDateTime('2026-06-01 00:00:00', 'UTC') + toIntervalHour(intDiv(number, 5000) * 3)"


def fill(client: Client) -> None:
    """Add events of 125 days with the ledger that goes with them."""
    client.command(
        "INSERT INTO events (uuid, event, properties, timestamp, team_id, distinct_id, _timestamp, _receipt, _offset, inserted_at)"
        " SELECT generateUUIDv4(number), concat('event ', toString(number % 13)),"
        " concat('{\"$current_url\":\"https://example.com/', toString(cityHash64(number, 1) % 100000), '\",\"n\":', toString(number), '}'),"
        f" {_HOUR} + toIntervalMicrosecond(number % 3600000000), 1 + intDiv(number, 5000) % 20, toString(cityHash64(number) % 100000),"
        f" {_HOUR}, 1000 + intDiv(number, 5000), number, now64(6) - INTERVAL 1 DAY"
        f" FROM numbers({ROWS}) SETTINGS max_partitions_per_insert_block = 0"
    )
    receipts = f"number * {RECEIPT_ROWS} AS number, 1000 + intDiv(number, 5000) AS receipt FROM numbers({ROWS // RECEIPT_ROWS})"
    client.command(
        f"INSERT INTO receipts (receipt, status, source, start, end) SELECT receipt, 1, 'f', number, number + 5000 FROM (SELECT {receipts})"
    )
    client.command(
        "INSERT INTO outcomes (receipt, team_id, hour, outcome, count) SELECT receipt, 1 + intDiv(number, 5000) % 20,"
        f" {_HOUR}, arrayJoin(['received', 'stored']), {RECEIPT_ROWS} FROM (SELECT {receipts})"
    )


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    close_all()
    database = Old(tmp_path)
    fill(database.client)
    database.before = contents(database.client)
    yield database
    close_all()


@pytest.mark.attack
@pytest.mark.timeout(3600)
def test_five_million_rows_are_copied_whenever_it_is_killed(old: Old) -> None:
    kill_and_go_on(old, KILLS, seconds=10)
    assert_whole(old.sink, old.before, old.files, events=EVENTS + ROWS)
