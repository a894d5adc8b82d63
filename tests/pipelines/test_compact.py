"""`sluice compact`: one row an id is shown at any moment, and left when it is done, wherever it is killed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.audit import audit
from pipelines.compact import Summary, compact
from pipelines.squash import squash
from schemas.errors import SluiceError
from schemas.event import Event
from schemas.outcomes import Outcome, Report, Tally
from schemas.tables import TIME
from tests.servers.clickhouse_engine import ClickHouseEngine
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.migrate import migrate
from transforms.receipts import Ledger
from transforms.receipts.accounts import Account
from transforms.runs import new_run
from transforms.sink.rows import event_rows

ROOT = Path(__file__).parents[2]
START = 1_795_000_000_000_000  # when all events arrived
SECOND, MINUTE, DAY = 10**6, 60 * 10**6, 86_400 * 10**6


class Killed(BaseException):
    """The end of a run."""


class Clock:
    """A client with a clock of its own, which can kill a run instead of its n-th statement, or do something before each."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.now: int = client.rows("SELECT toUnixTimestamp64Micro(now64(6))")[0][0] + 60 * MINUTE  # ahead of the table's own
        self.left = -1
        self.before: Callable[[str], None] = lambda _: None

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._client.rows(self._dated(sql))

    def command(self, sql: str) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1
        before, self.before = self.before, lambda _: None
        before(sql)
        self.before = before
        self._client.command(self._dated(sql))

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        self._client.insert(table, rows, token)

    def _dated(self, sql: str) -> str:
        moment = f"fromUnixTimestamp64Micro({self.now}, 'UTC')"
        return sql.replace("now64(6)", moment).replace("now('UTC')", moment)


class Delivery(NamedTuple):
    """One delivery of the event of a number, and what it says that another may say otherwise."""

    number: int
    receipt: int
    event: str = "e"
    who: str = "d"
    days: int = 0  # of event time, later
    arrived: int = START
    offset: int = 0

    def row(self) -> Event:
        uuid, at = self.number.to_bytes(16), START + self.days * DAY
        return Event(1, uuid, self.event, self.who, at, self.arrived, b"{}", "", False, 0, self.receipt, self.offset, 0)


class Books:
    """Tables with rows, the ledger that goes with them, and what must be shown of them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = shared(url)
        self.clock = Clock(self.client)
        self.shown: dict[UUID, tuple[int, int]] = {}  # of each id: when it was first stored, and the receipt
        self._acknowledged: set[int] = set()
        self._run = str(new_run(START))

    def clear(self) -> "Books":
        for table in ("events", "event_ids", "unchecked_ids", "doubles", "compactions", "receipts", "outcomes", "verifications", "usage"):
            self.client.command(f"TRUNCATE TABLE {table}")
        return Books(self.url)

    def store(self, *deliveries: Delivery, source: str = "f", run: str = "") -> None:
        """Insert rows of `events` now, and report a receipt, which has one event, the first time."""
        self.clock.now += 1000
        rows = event_rows([delivery.row() for delivery in deliveries])
        self.client.insert("events", rows.append_column("inserted_at", pa.array([self.clock.now] * len(deliveries), TIME)))
        for delivery in deliveries:
            stored = (self.clock.now, delivery.receipt)
            uuid = UUID(int=delivery.number)
            self.shown[uuid] = min(self.shown.get(uuid, stored), stored)
        new = {delivery.receipt: delivery for delivery in deliveries if delivery.receipt not in self._acknowledged}
        self._acknowledged |= new.keys()
        Ledger(self.url, run or self._run).acknowledge([_account(delivery, source) for delivery in new.values()])

    def compact(self, **options: bool) -> Summary:
        return compact(self.clock, **options)

    def check(self) -> None:
        """What is shown is right, and the audit balances."""
        rows = self.client.rows("SELECT uuid, toUnixTimestamp64Micro(inserted_at), _receipt FROM events_unique ORDER BY uuid")
        assert rows == sorted((uuid, *stored) for uuid, stored in self.shown.items())
        assert audit(self.client).differences == []

    def check_compacted(self) -> None:
        """One row an id is left."""
        self.check()
        for table in ("events", "event_ids"):
            assert self.client.rows(f"SELECT count(), uniqExact(uuid) FROM {table}") == [(len(self.shown), len(self.shown))]

    def check_costs_nothing(self) -> None:
        """No query pays for a double that was removed."""
        assert self.client.rows("SELECT count() - uniqExact(key) FROM unchecked_ids") == [(0,)]


def _account(delivery: Delivery, source: str) -> Account:
    account = Account(delivery.receipt)
    hour = delivery.arrived // (3600 * SECOND) * 3600
    tallies = [Tally(1, hour, outcome, "", 1) for outcome in (Outcome.RECEIVED, Outcome.STORED)]
    account.add(Report(delivery.receipt, tallies, parsed=1, read=1, source=source, start=0, end=1))
    return account


@pytest.fixture
def books(sink: str) -> Books:
    return Books(sink)


DIFFERENT = [
    Delivery(1, 12),
    Delivery(1, 12, days=3),
    Delivery(1, 12, days=-40),
    Delivery(1, 12, event="other"),
    Delivery(1, 12, who="other"),
    Delivery(1, 12, days=40, event="other", who="other", arrived=START + 6 * DAY),
    Delivery(1, 11),  # the same once more
]


@pytest.mark.parametrize("double", DIFFERENT)
def test_one_row_is_shown_and_left_whatever_differs(books: Books, double: Delivery) -> None:
    books.store(Delivery(1, 11), Delivery(2, 21))
    books.store(double)
    books.check()
    summary = books.compact()
    assert (summary.found, summary.removed, summary.alarms) == (1, 1, [])
    books.check_compacted()
    books.check_costs_nothing()


def test_the_smaller_receipt_wins_within_a_microsecond(books: Books) -> None:
    books.store(Delivery(1, 2**63))
    books.clock.now -= 1000
    books.store(Delivery(1, 2**62))
    books.clock.now -= 1000
    books.store(Delivery(1, 3 * 2**62))
    books.check()
    books.compact()
    books.check_compacted()
    assert books.client.rows("SELECT _receipt FROM events") == [(2**62,)]


def test_what_the_table_has_merged_away_is_found_and_not_missed(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.store(Delivery(1, 11))  # other deliveries of an id are left to `compact`
    books.client.command("OPTIMIZE TABLE events FINAL")
    books.check()
    summary = books.compact()
    assert (summary.found, summary.removed) == (1, 0)
    books.check_compacted()


def test_a_second_run_finds_nothing(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.store(Delivery(1, 12))
    books.compact()
    for full in (False, True):
        assert books.compact(full=full).found == 0
        books.check_compacted()
        books.check_costs_nothing()


def test_what_was_checked_is_not_looked_at_again_but_the_last_minutes_are(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.compact()
    assert books.compact().rows == 1
    books.clock.now += 19 * MINUTE
    assert [books.compact().rows for _ in range(2)] == [1, 1]
    books.clock.now += MINUTE + SECOND
    books.compact()
    assert books.compact().rows == 0


@pytest.mark.parametrize("minutes", [0, 9])
def test_a_row_that_was_checked_may_still_become_a_double(books: Books, minutes: int) -> None:
    books.store(Delivery(1, 11))
    books.clock.now += minutes * MINUTE
    books.compact()
    books.store(Delivery(1, 12))
    books.check()
    assert books.compact().found == 1
    books.check_compacted()


def test_a_full_run_is_due_once_a_day(books: Books) -> None:
    assert [books.compact().full for _ in range(3)] == [True, False, False]
    books.clock.now += DAY
    assert [books.compact().full for _ in range(2)] == [True, False]
    assert books.compact(full=True).full


def test_a_dry_run_counts_and_changes_nothing(books: Books) -> None:
    books.store(Delivery(1, 11), Delivery(2, 21))
    books.store(Delivery(1, 12))
    for full in (False, True):
        summary = books.compact(full=full, dry_run=True)
        assert (summary.found, summary.removed, summary.causes) == (1, 0, {"redelivered": 1})
    tables = ("events", "event_ids", "unchecked_ids", "doubles", "compactions")
    assert [books.client.rows(f"SELECT count() FROM {table}")[0][0] for table in tables] == [3, 3, 3, 0, 0]


def test_a_full_run_goes_through_the_ids_in_parts(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.compact.ROWS_AT_ONCE", 40)
    books.store(*[Delivery(number, number) for number in range(1, 201)])
    books.compact()
    books.clock.now += 30 * MINUTE
    books.compact()
    books.store(*[Delivery(number, 1000 + number) for number in range(1, 201)])
    steps: list[tuple[int, int]] = []
    summary = compact(books.clock, full=True, progress=lambda *step: steps.append(step))
    assert len(steps) == 11
    assert steps[-1] == (11, 11)
    assert summary.found == 200
    books.check_compacted()


def test_doubles_far_apart_are_removed_by_a_full_run_and_an_alarm(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.compact()
    books.clock.now += 30 * MINUTE
    books.compact()
    books.store(Delivery(1, 12))
    assert books.compact().found == 0
    summary = books.compact(full=True)
    assert summary.found == 1
    assert "more than 600 seconds apart" in summary.alarms[0]
    books.check_compacted()
    assert books.compact(full=True).alarms == []


def test_an_event_that_comes_again_after_the_window_is_no_alarm(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.clock.now += 30 * MINUTE
    books.store(Delivery(1, 12, arrived=START + 7 * DAY + 1))
    assert books.compact().alarms == []


def test_ids_that_are_not_listed_are_put_back(books: Books) -> None:
    """Also those of before the last verified moment: by a full run."""
    books.store(Delivery(1, 11), Delivery(2, 21))
    books.clock.now += 30 * MINUTE
    books.compact()
    books.client.command("DELETE FROM event_ids WHERE _receipt = 21 SETTINGS lightweight_deletes_sync = 2")
    books.store(Delivery(2, 22))
    books.clock.now += 30 * MINUTE
    assert books.compact().put_back == 0
    summary = books.compact(full=True)
    assert (summary.put_back, summary.found) == (1, 1)
    assert "apart" in "".join(summary.alarms)
    books.check_compacted()


def test_ids_without_a_row_are_taken_out_and_can_be_stored_again(books: Books) -> None:
    books.store(Delivery(1, 11), Delivery(2, 21))
    books.clock.now += 30 * MINUTE
    books.compact()
    books.client.command("DELETE FROM events WHERE _receipt = 21 SETTINGS lightweight_deletes_sync = 2")
    books.store(Delivery(3, 31))
    books.clock.now += MINUTE
    assert "1 ids were listed that events has no row of" in books.compact(full=True).alarms[0]
    assert books.client.rows("SELECT _receipt FROM event_ids ORDER BY 1") == [(11,), (31,)]
    assert books.client.rows("SELECT _receipt FROM lost_ids") == [(21,)]
    books.store(Delivery(2, 22))
    assert books.compact(full=True).alarms == []
    assert books.client.rows("SELECT _receipt FROM events_unique ORDER BY 1") == [(11,), (22,), (31,)]


def test_doubles_long_after_the_last_full_run_are_an_alarm(books: Books) -> None:
    books.compact()
    books.clock.now += 9 * DAY
    books.store(Delivery(1, 11))
    books.store(Delivery(1, 12))
    assert books.compact().alarms == ["the last full run is 9 days ago, and there were doubles: run it at least daily"]


def test_nothing_is_deleted_where_the_row_that_should_stay_is_gone(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.store(Delivery(1, 12))
    kept = "DELETE FROM events WHERE _receipt = 11 SETTINGS lightweight_deletes_sync = 2"
    books.clock.before = lambda sql: books.client.command(kept) if sql.startswith("INSERT INTO doubles") else None
    with pytest.raises(SluiceError, match="nothing was deleted"):
        books.compact()
    assert books.client.rows("SELECT _receipt FROM events") == [(12,)]


def test_a_double_stays_where_the_row_that_should_stay_is_gone_before(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.store(Delivery(1, 12))
    books.client.command("DELETE FROM events WHERE _receipt = 11 SETTINGS lightweight_deletes_sync = 2")
    books.clock.now += MINUTE
    assert "1 ids were listed" in books.compact().alarms[0]
    assert books.client.rows("SELECT _receipt FROM events_unique") == [(12,)]


def test_rows_that_are_left_are_an_error(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.store(Delivery(1, 12))
    sane = books.clock.command
    books.clock.command = lambda sql: None if sql.startswith("DELETE FROM events ") else sane(sql)  # type: ignore[method-assign]
    with pytest.raises(SluiceError, match="1 rows of events"):
        books.compact()
    books.clock.command = sane  # type: ignore[method-assign]
    books.compact()
    books.check_compacted()


EARLY, LATE = str(new_run(START)), str(new_run(START + DAY))


@pytest.mark.parametrize(
    ("double", "source", "run", "cause"),
    [
        (Delivery(1, 11), "f", EARLY, "retried"),
        (Delivery(1, 12), "f", EARLY, "redelivered"),
        (Delivery(1, 12), "f", LATE, "redelivered"),
        (Delivery(1, 12, offset=5), "f", EARLY, "client_retry"),
        (Delivery(1, 12), "g", LATE, "client_retry"),
        (Delivery(1, 12), "f", "both", "two_jobs"),
        (Delivery(1, 12, offset=5), "g", "both", "two_jobs"),
        (Delivery(1, 12), "", "", "unknown"),
    ],
    ids=range(8),  # runs are named at random, and so would tests be
)
def test_causes(books: Books, double: Delivery, source: str, run: str, cause: str) -> None:
    books.store(Delivery(1, 11), run=EARLY)
    books.store(double, source=source, run=LATE if run == "both" else run)
    # what runs have last said of themselves
    ended = START + DAY * (2 if run == "both" else 1) - 1
    books.client.command(
        f"ALTER TABLE receipts UPDATE written_at = fromUnixTimestamp64Micro({ended}) WHERE receipt = 11 SETTINGS mutations_sync = 2"
    )
    if cause == "unknown":
        books.client.command("DELETE FROM receipts WHERE receipt = 12 SETTINGS lightweight_deletes_sync = 2")
    assert books.compact().causes == {cause: 1}
    assert books.client.rows("SELECT found FROM compactions") == [({cause: 1},)]


def test_a_run_that_is_killed_at_any_statement_does_no_harm(books: Books) -> None:
    killed = 0
    for step in range(10):
        number = step + 1
        books.store(Delivery(number, 10 * number), Delivery(100 + number, 1000 + number))
        books.store(Delivery(number, 10 * number + 1, days=40))
        books.store(Delivery(number, 10 * number), Delivery(number, 10 * number + 2, event="other"))
        books.clock.left = step
        try:
            books.compact(full=step % 2 == 0)
        except Killed:
            killed += 1
        books.check()
        books.clock.now += MINUTE
    assert killed >= 7
    books.clock.left = -1
    books.compact()
    books.check_compacted()
    books.check_costs_nothing()


def test_doubles_that_arrive_meanwhile_are_left_for_the_next_run(books: Books) -> None:
    stored = []

    def meanwhile(sql: str) -> None:
        stored.append(sql)
        number = 10 + len(stored)
        books.store(Delivery(number, 2 * number), Delivery(1, 1000 + number, days=len(stored)))
        books.store(Delivery(number, 2 * number + 1, days=40))
        books.check()

    books.store(Delivery(1, 1))
    books.store(Delivery(1, 2))
    books.clock.before = meanwhile
    books.compact()
    assert len(stored) >= 6
    books.clock.before = lambda _: None
    assert books.compact().found >= len(stored)
    books.check_compacted()


def test_two_runs_at_once_do_no_harm(books: Books) -> None:
    def again(_: str) -> None:
        books.compact(full=True)
        books.check()

    for number in range(1, 4):
        books.store(Delivery(number, 2 * number))
        books.store(Delivery(number, 2 * number + 1, days=40))
    books.clock.before = again
    books.compact(full=True)
    books.check_compacted()


def test_what_a_full_run_has_listed_is_not_forgotten_by_another(books: Books) -> None:
    books.store(Delivery(1, 11))
    books.compact()
    for receipt in (12, 13):  # far apart
        books.clock.now += 30 * MINUTE
        books.compact()
        books.store(Delivery(1, receipt))
    books.clock.now += 30 * MINUTE

    def list_and_die(sql: str) -> None:
        if sql.startswith("ALTER TABLE unchecked_ids"):
            books.clock.left = 2  # it notes what was verified, and lists
            with suppress(Killed):
                books.compact(full=True)
            books.clock.left = -1

    books.clock.before = list_and_die
    assert books.compact().found == 0
    books.clock.before = lambda _: None
    assert books.compact().found == 2
    books.check_compacted()


def test_squash_and_compact_do_not_disturb_each_other(books: Books) -> None:
    books.store(Delivery(1, 11), Delivery(2, 21))
    books.store(Delivery(1, 12, days=40))
    books.clock.before = lambda _: squash(books.client) and None  # type: ignore[func-returns-value]
    books.compact()
    books.store(Delivery(2, 22, days=40))
    books.clock.before = lambda _: None
    squash(books.client, progress=lambda *_: books.compact() and None)  # type: ignore[func-returns-value]
    books.check_compacted()


STORE = st.tuples(
    st.just("store"),
    st.integers(1, 4),
    st.integers(0, 2),
    st.sampled_from(["e", "other"]),
    st.sampled_from([0, 1, 40]),
)
STEP = st.one_of(
    STORE,
    STORE,
    STORE,
    st.tuples(st.just("wait"), st.sampled_from([1, 15, 25 * 60])),
    st.tuples(st.just("compact"), st.booleans(), st.integers(-1, 10)),
    st.tuples(st.just("merge")),
)


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"chdb:{tmp_path_factory.mktemp('histories') / 'db'}"


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(history=st.lists(STEP, min_size=6, max_size=14))
def test_whatever_happens_one_row_an_id_is_shown(histories: str, history: list[tuple[Any, ...]]) -> None:
    close_all()
    migrate(shared(histories))
    books = Books(histories).clear()
    for step in [*history, ("compact", True, -1)]:
        _act(books, *step)
        books.check()
    books.check_compacted()
    close_all()


def _act(books: Books, what: str, *details: Any) -> None:
    match what, details:
        case "store", (number, attempt, event, days):
            first, _ = books.shown.get(UUID(int=number), (books.clock.now, 0))
            if books.clock.now - first <= 9 * MINUTE:  # as is promised of jobs
                books.store(Delivery(number, 10 * number + attempt, event, days=days))
        case "wait", (minutes,):
            books.clock.now += minutes * MINUTE
        case "merge", ():
            books.client.command("OPTIMIZE TABLE events FINAL")
        case "compact", (full, left):
            books.clock.left = left
            with suppress(Killed):
                assert books.compact(full=full).alarms == []
            books.clock.left = -1


# Runs `sluice compact`, and kills its own process when the server has its DELETE.
KILLED = """
import os, signal, sys
from clickhouse_driver.connection import Connection
from runners.cli import main

send = Connection.send_query

def send_and_die(self, query, *args, **options):
    send(self, query, *args, **options)
    if query.startswith(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

Connection.send_query = send_and_die
main(["compact", "--sink", sys.argv[1]])
"""


@pytest.mark.parametrize(
    ("statement", "with_server"),
    [("DELETE FROM events", False), ("DELETE FROM events", True), ("ALTER TABLE unchecked_ids", True)],
)
def test_a_process_that_is_killed_in_a_mutation_does_no_harm(tmp_path: Path, statement: str, with_server: bool) -> None:
    with ClickHouseEngine(tmp_path) as engine:
        url = engine.url(engine.new_database())
        migrate(shared(url))
        _fill(shared(url), 20_000)
        close_all()
        command = [sys.executable, "-W", "ignore", "-c", KILLED, url, statement]
        assert subprocess.run(command, timeout=100, check=False, cwd=ROOT).returncode == -9
        if with_server:
            engine.kill()
            engine.start()
        assert shared(url).rows("SELECT count(), uniqExact(uuid), max(_receipt) FROM events_unique") == [(20_000, 20_000, 1)]
        close_all()
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        again = [sys.executable, "-W", "ignore", "-m", "runners", "compact", "--sink", url, "--json"]
        done = subprocess.run(again, capture_output=True, text=True, timeout=100, check=False, env=env)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["alarms"] == []
        for table in ("events", "event_ids", "events_unique"):
            assert shared(url).rows(f"SELECT count(), uniqExact(uuid), max(_receipt) FROM {table}") == [(20_000, 20_000, 1)]
        close_all()


def _fill(client: Client, rows: int) -> None:
    """Store rows of receipt 1 over two months, and each tenth again, in other partitions, of receipt 2."""
    for receipt, step, month in ((1, 1, 10), (2, 10, 7)):
        client.command(
            "INSERT INTO events (uuid, event, timestamp, team_id, _timestamp, _receipt, _offset)"
            f" SELECT toUUID(concat('00000000-0000-7000-8000-', leftPad(toString(number * {step}), 12, '0'))), 'e',"
            f" toDateTime64('2026-{month}-15 00:00:00', 6, 'UTC') + INTERVAL number % 2 MONTH, 1, now64(6), {receipt}, number"
            f" FROM numbers({rows // step})"
        )
