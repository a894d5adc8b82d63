"""Tables that are copied into ones with other keys: of a database that an older release has made, interrupted, killed, and beside jobs."""

import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from schemas import tables
from schemas.errors import ConfigError, SluiceError
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.transforms.io.old_database import Contents, add_fresh, assert_whole, contents, unpack
from transforms.io import rebuild as module
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.migrate import migrate, schema_version

_MIGRATE = (
    "import sys; from transforms.io.clickhouse import shared; from transforms.io.migrate import migrate; migrate(shared(sys.argv[1]))"
)


class Old:
    """The database, embedded or behind the native protocol."""

    def __init__(self, folder: Path, engine: ClickHouseEngine | None = None) -> None:
        self.files = unpack(folder)[1]
        if engine:
            engine.start()
        self.sink = engine.url() if engine else f"chdb:{folder / 'db'}"
        self.client: Client = shared(self.sink)
        add_fresh(self.client)
        self.before: Contents = contents(self.client)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Old]:
    close_all()
    yield Old(tmp_path)
    close_all()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Old]:
    engine = ClickHouseEngine(tmp_path)
    (tmp_path / "data").symlink_to(tmp_path / "db")
    yield Old(tmp_path, engine)
    close_all()
    engine.stop()


class Meddler:
    """A client beside which something happens: before a statement that begins so, once."""

    def __init__(self, client: Client, start: str, meddle: Callable[[], Any]) -> None:
        self._client, self._start, self._meddle = client, start, meddle

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def command(self, sql: str) -> None:
        if sql.startswith(self._start):
            self._start = "nothing begins so"
            self._meddle()
        self._client.command(sql)


class Interrupted(Exception):
    pass


def interrupt() -> None:
    raise Interrupted


@pytest.mark.parametrize("where", ["old", "served"])
def test_a_database_of_an_older_release_keeps_everything(where: str, request: pytest.FixtureRequest) -> None:
    database: Old = request.getfixturevalue(where)
    told: list[tuple[str, int, int]] = []
    migrate(database.client, lambda *what: told.append(what))

    assert_whole(database.sink, database.before, database.files if where == "old" else None)
    assert {what for what, _, _ in told} >= {"copying events", "comparing events", "copying event_ids"}
    assert all(0 <= done <= total for _, done, total in told)


def test_it_goes_on_after_each_statement_that_it_was_interrupted_at(old: Old) -> None:
    seen = set[str]()

    class Fragile(Meddler):
        def command(self, sql: str) -> None:
            old.client.command(sql)
            if sql not in seen:
                seen.add(sql)
                raise Interrupted

    while schema_version(old.client) < tables.migrations()[-1].version:
        with suppress(Interrupted):
            migrate(Fragile(old.client, "", interrupt))  # type: ignore[arg-type]
    assert len(seen) >= 20
    assert_whole(old.sink, old.before, old.files)


def kill_and_go_on(old: Old, kills: int, seconds: float) -> None:
    """Migrate in processes that are killed at random moments, then in one that is not."""
    close_all()
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _MIGRATE, old.sink])
        try:
            process.wait(random.uniform(1, 1 + seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    migrate(shared(old.sink))


def test_it_goes_on_after_it_was_killed(old: Old) -> None:
    kill_and_go_on(old, kills=2, seconds=2)
    assert_whole(old.sink, old.before, old.files)


@pytest.mark.parametrize(
    ("start", "meddling"),
    [
        ("ALTER TABLE event_ids ADD INDEX", "INSERT INTO events (uuid, timestamp) SELECT generateUUIDv4(), now64(6)"),
        ("INSERT INTO events_rebuilt", "ALTER TABLE events UPDATE person_id = generateUUIDv4() WHERE 1 SETTINGS mutations_sync = 2"),
        ("INSERT INTO events_rebuilt", "DELETE FROM events WHERE _offset % 7 = 0"),
        ("ALTER TABLE dead_letters_rebuilt MODIFY", "ALTER TABLE events_rebuilt DELETE WHERE 1 SETTINGS mutations_sync = 2"),
        ("EXCHANGE TABLES event_ids", "OPTIMIZE TABLE events FINAL"),
    ],
)
def test_what_others_change_meanwhile_is_copied_too(old: Old, start: str, meddling: str) -> None:
    def meddle() -> None:
        if "events_rebuilt DELETE" in meddling:
            old.client.command("CREATE TABLE IF NOT EXISTS events_rebuilt AS events")
        old.client.command(meddling)
        old.before = contents(old.client, old.before)

    migrate(Meddler(old.client, start, meddle))  # type: ignore[arg-type]
    assert contents(old.client, old.before) == old.before


def test_rows_that_come_before_the_exchange_stop_it_and_the_next_run_has_them(old: Old) -> None:
    insert = "INSERT INTO events (uuid, timestamp) SELECT generateUUIDv4(), now64(6)"

    class Late(Meddler):
        def rows(self, sql: str) -> list[tuple[Any, ...]]:
            if "system.processes" in sql and self._start == "now":
                self._start = "done"
                old.client.command(insert)
            return old.client.rows(sql)

        def command(self, sql: str) -> None:
            old.client.command(sql)
            if sql.startswith("INSERT INTO events_rebuilt"):
                self._start = "now"

    with pytest.raises(SluiceError, match="rows of events were inserted while it was copied: stop all jobs"):
        migrate(Late(old.client, "", interrupt))  # type: ignore[arg-type]
    old.before = contents(old.client, old.before)
    migrate(old.client)
    assert contents(old.client, old.before) == old.before


def test_rows_that_come_at_the_exchange_are_kept_and_told_of(old: Old) -> None:
    class Late(Meddler):
        def command(self, sql: str) -> None:
            if sql.startswith("EXCHANGE TABLES events "):
                old.client.command("INSERT INTO events (uuid, timestamp) SELECT generateUUIDv4(), now64(6)")
            old.client.command(sql)

    with pytest.raises(SluiceError, match="copy what events_late has and events has not"):
        migrate(Late(old.client, "", interrupt))  # type: ignore[arg-type]
    assert old.client.rows("SELECT count() - (SELECT count() FROM events) FROM events_late") == [(1,)]
    migrate(old.client)
    assert contents(old.client, old.before)["events"] == old.before["events"]


def test_a_copy_that_never_agrees_is_given_up(old: Old) -> None:
    class Restless(Meddler):
        def command(self, sql: str) -> None:
            old.client.command(sql)
            if sql.startswith("INSERT INTO events_rebuilt"):
                old.client.command("ALTER TABLE events UPDATE properties = concat(properties, ' ') WHERE 1 SETTINGS mutations_sync = 2")

    with pytest.raises(SluiceError, match="rows of events change while they are copied"):
        migrate(Restless(old.client, "", interrupt))  # type: ignore[arg-type]
    old.before = contents(old.client, old.before)
    migrate(old.client)
    assert contents(old.client, old.before) == old.before


def test_one_delivery_that_is_there_twice_may_be_one_row_afterwards(old: Old) -> None:
    columns = old.before["events"][0]
    old.client.command("SYSTEM STOP MERGES events")
    old.client.command(
        f"INSERT INTO events ({columns}) SELECT * REPLACE (inserted_at + 1 AS inserted_at) FROM (SELECT {columns} FROM events LIMIT 5)"
    )

    migrate(Meddler(old.client, "EXCHANGE TABLES events ", lambda: None))  # type: ignore[arg-type]
    old.client.command("OPTIMIZE TABLE events FINAL")
    assert contents(old.client, old.before)["events"] == old.before["events"]


def test_columns_settings_and_times_to_live_stay(old: Old) -> None:
    old.client.command("ALTER TABLE events ADD COLUMN later String DEFAULT 'x', MODIFY SETTING non_replicated_deduplication_window = 777")
    old.client.command("ALTER TABLE dead_letters MODIFY TTL toDateTime(inserted_at) + INTERVAL 99 DAY")
    migrate(old.client)
    engines = dict(old.client.rows("SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"))
    assert "non_replicated_deduplication_window = 777" in engines["events"]
    assert "TTL toDateTime(inserted_at) + toIntervalDay(99)" in engines["dead_letters"]
    assert "toIntervalDay(90)" in engines["ingestion_warnings"]
    assert old.client.rows("SELECT DISTINCT later FROM events") == [("x",)]
    assert old.client.rows("SELECT groupArray(name) FROM system.data_skipping_indices WHERE table = 'events'") == [
        (["arrival", "insertion"],)
    ]


def test_views_go_on_by_name(old: Old) -> None:
    migrate(old.client)
    old.client.command("INSERT INTO events (uuid, timestamp, _timestamp) SELECT generateUUIDv4(), now64(6), now64(6)")
    for table in ("events", "event_ids", "events_unique"):
        assert old.client.rows(f"SELECT count() FROM {table}") == [(old.before["events"][1] + 1,)]
    assert old.client.rows("SELECT count() FROM events_resolved WHERE team_id = 0") == [(1,)]


def test_a_server_at_work_is_left_alone(served: Old) -> None:
    served.client.command("INSERT INTO receipts (receipt, source) SELECT 1, 'kafka://x'")
    with pytest.raises(
        ConfigError, match=r"cannot be rebuilt while rows are inserted: a job wrote \d+ seconds ago\nhint: stop all jobs, wait 120"
    ):
        migrate(served.client)
    assert contents(served.client, served.before) == served.before
    assert served.client.rows("SELECT count() FROM system.tables WHERE name LIKE '%_rebuilt'") == [(0,)]


def test_without_enough_space_nothing_is_begun(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROOM", 1e9)
    with pytest.raises(
        ConfigError, match=r"event_ids is copied once, which takes [\d,]+ MiB; [\d,]+ MiB of the disk are free\nhint: add space"
    ):
        migrate(old.client)
    assert contents(old.client, old.before) == old.before


def test_pieces_are_days_and_hold_a_bounded_number_of_rows(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_ROWS", 100)
    inserts = []

    class Watched(Meddler):
        def command(self, sql: str) -> None:
            inserts.append(sql.startswith("INSERT INTO events_rebuilt"))
            old.client.command(sql)

    migrate(Watched(old.client, "", interrupt))  # type: ignore[arg-type]
    assert 11 <= sum(inserts) <= 36
    assert_whole(old.sink, old.before)
