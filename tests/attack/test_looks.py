"""Looks at `events_unique` beside a running insert, on one engine: each id is seen once, never twice and never not at all (A8).

The suite's clients run one statement at a time. Here writer and reader have connections of their own. The moment between the parts of
`events` and of `unchecked_ids` is stretched to a tenth of a second, and so is that between a query's looks at the two.
"""

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import chdb
import pytest

from transforms.io.clickhouse import shared
from transforms.io.migrate import migrate

IDS = 300  # of an insert
LOOKS = 15
SLOW_VIEW = "ALTER TABLE unchecked_ids_mv MODIFY QUERY {query} WHERE NOT ignore(sleep(0.1))"
SLOW_LOOK = " SETTINGS merge_tree_storage_snapshot_sleep_ms = 100"
LOOK = "SELECT count(), uniqExact(team_id, uuid) FROM events_unique"


class Connection:
    """One of several to the engine of this process."""

    def __init__(self, folder: Path) -> None:
        self._connection = chdb.connect(str(folder))
        self.close = self._connection.close

    def run(self, sql: str) -> str:
        return bytes(self._connection.query(sql, "TSV").bytes()).decode()

    def insert(self, first: int, receipt: int, later: int) -> None:
        """Insert ids from a number on, stamped so many seconds after the clock."""
        self.run(
            "INSERT INTO events (uuid, event, timestamp, team_id, distinct_id, _timestamp, _receipt, _offset, _index, inserted_at)"
            f" SELECT reinterpretAsUUID(MD5(toString(number))), 'e', now64(6), 1, 'd', now64(6), {receipt}, number, 0,"
            f" now64(6) + INTERVAL {later} SECOND FROM numbers({first}, {IDS}) SETTINGS max_threads = 1"
        )


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    client = shared(f"chdb:{tmp_path}")
    migrate(client)
    yield tmp_path
    client.close()


@contextlib.contextmanager
def connected(folder: Path) -> Iterator[tuple[Connection, Connection]]:
    connections = Connection(folder), Connection(folder)
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def keep_doubling(writer: Connection, later: int, enough: Event) -> None:
    """Insert the same ids again and again, each time later than all others, or earlier."""
    for number in itertools.count(1):
        if enough.is_set():
            return
        writer.insert(0, number, number * later)


@pytest.mark.parametrize("later", [1, -1], ids=["rows get later", "rows get earlier"])
@pytest.mark.parametrize("slow", ["a view", "a look"])
def test_each_id_is_seen_once(folder: Path, later: int, slow: str) -> None:
    with connected(folder) as (writer, reader), ThreadPoolExecutor(1) as thread:
        if slow == "a view":
            query = reader.run("SELECT as_select FROM system.tables WHERE name = 'unchecked_ids_mv' FORMAT TSVRaw")
            writer.run(SLOW_VIEW.format(query=query))
        writer.insert(0, 0, 0)
        enough = Event()
        doubles = thread.submit(keep_doubling, writer, later, enough)
        try:
            looks = [reader.run(LOOK + (SLOW_LOOK if slow == "a look" else "")).split() for _ in range(LOOKS)]
        finally:
            enough.set()
        doubles.result()
        assert int(reader.run("SELECT count() FROM events")) > 2 * IDS
        assert Counter(map(tuple, looks)) == {(str(IDS), str(IDS)): LOOKS}  # rows, ids
