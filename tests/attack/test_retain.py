"""Days are dropped from all tables together, and what comes again is refused (C5); rows that are lost can be stored again (A5)."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from click.testing import CliRunner
from rich.console import Console

from pipelines.audit import audit
from pipelines.compact import compact
from pipelines.doctor.finding import Level
from pipelines.doctor.tables import check_dropped_days
from pipelines.retain import CUTS, first_kept, retain
from runners.cli import main
from runners.ingest import run_ingest
from runners.results import Summary, refused
from tests.attack.test_files import DAY, NOW, SECOND, assert_once, events, touch, write
from transforms.io.clickhouse import Client, close_all, shared

OLD, KEPT = range(1, 31), range(31, 61)
BEFORE = datetime.fromtimestamp(NOW / SECOND - 40 * 86_400, UTC).date()
TABLES = ("events", "event_ids", "unchecked_ids", "usage", "outcomes", "receipts")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def ingest(sink: str, *sources: Path, days: float = 0) -> Summary:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipelines.store.time_ns", lambda: 1000 * int(NOW + days * DAY))
        run, summary = run_ingest(
            PipelineOptions([], source=[str(each) for each in sources], sink=sink), Console(stderr=True, force_terminal=False)
        )
    warning = refused(shared(sink), run)
    assert bool(warning) == bool(summary.limited)
    assert warning == "" or warning.startswith(
        f"{summary.limited:,} events arrived before {BEFORE}, on days that `sluice retain` has dropped"
    )
    return summary


@pytest.fixture
def files(tmp_path: Path, sink: str) -> list[Path]:
    """Return two files that are ingested: one of a day that is to be dropped, and one of a day that is not."""
    paths = [write(tmp_path / "old.jsonl", events(*OLD), -50), write(tmp_path / "kept.jsonl", events(*KEPT), -30)]
    assert ingest(sink, *paths).stored == 60
    return paths


def rows(client: Client) -> dict[str, int]:
    return {table: client.rows(f"SELECT count() FROM {table}")[0][0] for table in TABLES}


def age(client: Client, days: int) -> None:
    """Make all receipts so many days older."""
    client.command(f"ALTER TABLE receipts UPDATE written_at = written_at - INTERVAL {days} DAY WHERE 1 SETTINGS mutations_sync = 2")


def assert_balanced(client: Client) -> None:
    result = audit(client)
    assert result.balanced, [*map(str, result.differences)]


def test_all_tables_are_cut_together_and_the_audit_balances(sink: str, files: list[Path]) -> None:
    client = shared(sink)
    foreseen = retain(client, BEFORE, dry_run=True)
    assert rows(client)["events"] == 60
    done = retain(client, BEFORE)
    assert done.rows == foreseen.rows == {"events": 30, "event_ids": 30, "unchecked_ids": 30, "usage": 1, "outcomes": 2}
    assert rows(client) | {"receipts": 0} == {"events": 30, "event_ids": 30, "unchecked_ids": 30, "usage": 1, "outcomes": 2, "receipts": 0}
    assert_once(client, *KEPT)
    assert retain(client, BEFORE).rows == {}
    assert (check_dropped_days(client).level, str(BEFORE) in check_dropped_days(client).what) == (Level.OK, True)


def test_what_is_dropped_is_refused_whatever_it_is_called_later(sink: str, files: list[Path]) -> None:
    retain(shared(sink), BEFORE)
    touch(files[0].rename(files[0].with_name("new.jsonl")), -1)
    for days in (1, 300):
        again = ingest(sink, files[0].with_name("new.jsonl"), files[1], days=days)
        assert (again.stored, again.duplicate, again.limited) == (0, 30, 30)
        assert_once(shared(sink), *KEPT)
    client = shared(sink)
    assert client.rows("SELECT DISTINCT reason FROM outcomes WHERE outcome = 'limited'") == [("dropped_day",)]
    assert retain(client, BEFORE).rows == {"outcomes": 4}
    assert_once(client, *KEPT)


def test_what_slips_in_before_a_worker_knows_is_removed_the_next_time(
    sink: str, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    retain(shared(sink), BEFORE)
    with monkeypatch.context() as patched:
        patched.setattr("transforms.retentions.DroppedDays.before", lambda self: 0)
        options = PipelineOptions([], source=[str(files[0])], sink=sink)
        assert run_ingest(options, Console(stderr=True, force_terminal=False))[1].stored == 30
    client = shared(sink)
    assert_balanced(client)
    assert retain(client, BEFORE).rows["events"] == 30
    assert_once(client, *KEPT)


class Killed(BaseException):
    """The end of a run."""


class Dying:
    """A client that dies right after its n-th command that begins in some way."""

    def __init__(self, client: Client, left: int, begins: str = "") -> None:
        self._client, self._left, self._begins = client, left, begins

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def command(self, sql: str) -> None:
        self._client.command(sql)
        self._left -= sql.startswith(self._begins)
        if self._left == 0:
            raise Killed


def test_killed_at_each_step_it_is_right_and_the_next_run_finishes(sink: str, files: list[Path]) -> None:
    """With a double on both sides of the cut, which hides one row of an id."""
    client = shared(sink)
    double(client, files)
    age(client, 400)
    shown = "SELECT uuid, count() FROM events_unique GROUP BY uuid HAVING count() > 1"
    steps = 0
    while retain(client, BEFORE, dry_run=True).rows:
        with pytest.raises(Killed):  # when the day is recorded, and something is deleted
            retain(Dying(client, 2), BEFORE)  # type: ignore[arg-type]
        steps += 1
        assert_balanced(client)
        assert client.rows(shown) == []
    assert steps >= 5
    retain(client, BEFORE)
    assert compact(client, full=True).alarms == []
    assert client.rows("SELECT count() FROM events_unique WHERE uuid IN (SELECT uuid FROM doubles)") == [(0,)]
    assert client.rows("SELECT count(), uniqExact(uuid) FROM events_unique") == [(31, 31)]
    assert_balanced(client)
    assert client.rows(f"SELECT min(_timestamp) >= toDate('{BEFORE}') FROM events") == [(True,)]


def double(client: Client, files: list[Path]) -> None:
    """Store an event of an old day again, as if it had arrived on a day that is kept, by a job that did not see it."""
    receipt, hour = 77, "toStartOfHour(toDateTime(_timestamp, 'UTC'))"
    client.command(
        f"INSERT INTO events SELECT * REPLACE (_timestamp + INTERVAL 15 DAY AS _timestamp, {receipt} AS _receipt, now64(6) AS inserted_at)"
        f" FROM (SELECT * FROM events WHERE _timestamp < toDate('{BEFORE}') ORDER BY _offset LIMIT 1)"
    )
    for outcome in ("received", "stored"):
        client.command(f"INSERT INTO outcomes SELECT {receipt}, team_id, {hour}, '{outcome}', '', 1 FROM events WHERE _receipt = {receipt}")
    client.command(
        f"INSERT INTO receipts (receipt, status, run, source, start, end, messages) SELECT {receipt}, 'acknowledged', run, 'other', 0, 1, 1"
        f" FROM receipts WHERE source = '{files[0]}' LIMIT 1"
    )


def test_compact_goes_on_though_the_row_that_stays_of_a_double_is_dropped(sink: str, files: list[Path]) -> None:
    """It was recorded by a run that was killed before it removed it."""
    client = shared(sink)
    double(client, files)
    with pytest.raises(Killed):
        compact(Dying(client, 1, "INSERT INTO doubles"))  # type: ignore[arg-type]
    assert client.rows("SELECT count() FROM doubles FINAL WHERE removed_at = 0") == [(1,)]
    retain(client, BEFORE)
    assert client.rows("SELECT count(), uniqExact(uuid) FROM events_unique") == [(31, 31)]
    for _ in range(2):
        done = compact(client, full=True)
        assert (done.found, done.removed, done.alarms) == (0, 0, [])
        assert_balanced(client)
    assert client.rows("SELECT count(), uniqExact(uuid) FROM events") == [(31, 31)]


def test_receipts_go_when_nothing_of_them_is_left(sink: str, files: list[Path]) -> None:
    """But for the last of a source."""
    client = shared(sink)
    ingest(sink, *files, days=1)
    client = shared(sink)
    age(client, 400)
    done = retain(client, BEFORE)
    assert done.rows["receipts"] == client.rows(f"SELECT 4 - count() FROM receipts WHERE source = '{files[0]}'")[0][0]
    assert client.rows("SELECT source, count() FROM receipts FINAL GROUP BY source ORDER BY source") == [
        (str(files[1]), 2),
        (str(files[0]), 1),
    ]
    assert_balanced(client)


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ([], "give either"),
        (["--months", "3", "--before", "2026-01-01"], "give either"),
        (["--months", "0"], "--months is 0"),
        (["--months", "99999"], "--months is 99999"),
        (["--months", "999999999999"], "at most"),
        (["--before", "1969-12-31"], "--before is 1969-12-31, but at least 1970-01-01"),
        (["--before", "2100-01-01"], "at most"),
    ],
)
def test_what_cannot_be_meant_is_refused(sink: str, asked: list[str], problem: str) -> None:
    result = CliRunner().invoke(main, ["retain", "--sink", sink, *asked])
    assert result.exit_code == 2
    assert problem in result.output


class Today:
    """A client whose clock stands still."""

    embedded = True

    def __init__(self, today: date) -> None:
        self._today = today

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return [(self._today,)]

    def command(self, sql: str) -> None:
        raise AssertionError(sql)


@pytest.mark.parametrize(
    ("today", "months", "first"),
    [
        (date(2026, 11, 30), 1, date(2026, 10, 1)),
        (date(2026, 1, 1), 1, date(2025, 12, 1)),
        (date(2026, 12, 31), 12, date(2025, 12, 1)),
        (date(2024, 2, 29), 13, date(2023, 1, 1)),
    ],
)
def test_months_are_whole_ones(today: date, months: int, first: date) -> None:
    assert first_kept(Today(today), months, None) == first


def test_every_table_with_a_time_of_arrival_is_cut(client: Client) -> None:
    """One that comes later is not to be forgotten."""
    found = client.rows(
        "SELECT DISTINCT table FROM system.columns WHERE database = currentDatabase() "
        " AND name IN ('_timestamp', 'hour', '_receipt', 'receipt')"
        " AND table IN (SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')"
    )
    assert {table for (table,) in found} <= {cut.table for cut in CUTS}
