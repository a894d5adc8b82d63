"""ClickHouse's clock is set back by an hour: nothing is lost, nothing is shown twice, and the frontier does not lie."""

from uuid import uuid4

import pytest

from pipelines.compact import compact
from schemas.event import Event
from schemas.identity import unique_key
from transforms.dedupe.filter import DAY
from transforms.io.clickhouse import Client
from transforms.io.clickhouse.clock import ServerClock
from transforms.io.clickhouse.frontier import frontier, moment
from transforms.runs import new_run
from transforms.sink.event_ids import EventIds
from transforms.sink.rows import event_rows
from transforms.sink.stored import StoredEvents

HOUR = 3_600_000_000  # microseconds
NOW = 1_795_000_000_000_000


def event(number: int, receipt: int = 1) -> Event:
    return Event(3, number.to_bytes(16), "e", "d", NOW, NOW, b"{}", "", False, 0, receipt, number, 0)


def store(client: Client, *events: Event) -> None:
    StoredEvents(client).insert("events", event_rows(events), uuid4().hex)


@pytest.fixture
def ahead(client: Client) -> int:
    """Store an event an hour from now, as ClickHouse has it after its clock was set back, and return that time."""
    at = moment(client).clock + HOUR
    client.command(
        "INSERT INTO events (uuid, team_id, _receipt, _offset, _timestamp, inserted_at) SELECT"
        f" toUUID('00000000-0000-0000-0000-000000000001'), 3, 1, 1, fromUnixTimestamp64Micro({NOW}), fromUnixTimestamp64Micro({at - 1})"
    )
    client.command(f"INSERT INTO runs (run, last_written) SELECT generateUUIDv4(), fromUnixTimestamp64Micro({at})")
    return at


def test_rows_are_stamped_with_the_last_moment_that_was_heard_of(client: Client, ahead: int) -> None:
    store(client, event(2))
    rows = client.rows("SELECT _offset, toUnixTimestamp64Micro(inserted_at) FROM events ORDER BY _offset")
    assert rows == [(1, ahead - 1), (2, ahead)]
    for table in ("event_ids", "unchecked_ids"):
        assert client.rows(f"SELECT max(toUnixTimestamp64Micro(inserted_at)) FROM {table}") == [(ahead,)]


def test_the_frontier_of_before_holds(client: Client, ahead: int) -> None:
    before = frontier(client).moment
    store(client, event(2))
    assert before <= frontier(client).moment == ahead
    assert client.rows(f"SELECT count() FROM events WHERE inserted_at < fromUnixTimestamp64Micro({before})") == [(1,)]


def test_a_worker_learns_what_others_store_after_it(client: Client, ahead: int) -> None:
    """Of a job that has looked last before the clock was set back."""
    assert ServerClock(client).now() >= ahead
    ids = EventIds(client, new_run(NOW))
    before = ids.final()
    store(client, event(2))
    found = ids.load(0, 1, [NOW // DAY], before)
    assert found.days[NOW // DAY] == unique_key(3, (2).to_bytes(16))


def test_the_first_stored_row_stays_and_one_is_shown(client: Client, ahead: int) -> None:
    store(client, event(1, receipt=2))  # a double of the event that was stored before
    assert client.rows("SELECT _receipt FROM events_unique") == [(1,)]
    assert compact(client, full=True).found == 1
    assert client.rows("SELECT _receipt FROM events") == [(1,)]
    assert compact(client).found == 0
