"""The audit against ledgers that balance, and against each way in which one can fail to."""

import itertools
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import compact
from pipelines.audit import Audit, Difference, Range, Scope, audit, is_covered, of_subscription, of_topic, united
from schemas.event import DeadLetter, Event
from schemas.message import FileRange
from schemas.outcomes import Outcome, Report, Tally
from transforms.io.clickhouse import Client, shared
from transforms.io.kafka.offsets import Committed, Offsets
from transforms.io.migrate import migrate
from transforms.receipts import Ledger
from transforms.receipts.accounts import Account
from transforms.sink.rows import event_rows, letter_rows

RUN, LATER_RUN = "01935b1e-7c5a-7def-8123-456789abcdef", "01935b1e-7c5a-7def-8123-456789abcdf0"
NOON = 1_795_000_000 // 3600 * 3600  # the hour that begins then
HOUR = "2026-11-18T11:00:00Z"
NEXT_HOUR = "2026-11-18T12:00:00Z"


class Books:
    """A ledger and its rows, written as the job writes them; tests then spoil them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Client = shared(url)
        self._offset = 0

    def open(self, receipt: int, start: int = 0, end: int = 100, source: str = "f", run: str = RUN) -> None:
        Ledger(self.url, run).open_receipts([FileRange(receipt, source, "lines", start, end, end, 0)])

    def close(
        self, receipt: int, counts: dict[tuple[int, int, Outcome], int], start: int = 0, end: int = 100, source: str = "f", run: str = RUN
    ) -> None:
        """Acknowledge a receipt of so many events by team, hour and outcome."""
        account = Account(receipt)
        tallies = [Tally(team, hour, outcome, "", count) for (team, hour, outcome), count in counts.items()]
        account.add(Report(receipt, tallies, parsed=1, read=1, source=source, start=start, end=end))
        Ledger(self.url, run).acknowledge([account])

    def insert(self, receipt: int, team: int, hour: int, count: int) -> None:
        """Insert rows of `events`, spread over an hour."""
        seconds = [*range(0, 3600, 3599), *range(1, 3599)]
        places = range(self._offset, self._offset + count)
        self._offset += count
        rows = [
            Event(team, place.to_bytes(16), "e", "d", 0, (hour + seconds[n]) * 1_000_000 + 999_999, b"{}", "", False, 0, receipt, place, 0)
            for n, place in enumerate(places)
        ]
        self.client.insert("events", event_rows(rows))

    def reject(self, receipt: int, team: int, hour: int, count: int) -> None:
        """Insert dead letters."""
        arrival = hour * 1_000_000 + 3_599_999_999
        letters = [DeadLetter(team, "r", "", "s", b"x", arrival, receipt, place, 0) for place in range(count)]
        if letters:
            self.client.insert("dead_letters", letter_rows(letters))

    def double(self, condition: str, as_receipt: str = "_receipt", later: int = 1) -> None:
        """Insert rows of `events` again, as rows of a receipt, so many seconds later."""
        columns = f"{as_receipt} AS _receipt, inserted_at + INTERVAL {later} SECOND AS inserted_at"
        self.client.command(f"INSERT INTO events SELECT * REPLACE ({columns}) FROM events WHERE {condition}")

    def write(self, receipt: int, stored: int, others: Sequence[tuple[Outcome, int]] = (), team: int = 1, hour: int = NOON) -> None:
        """Write a whole receipt that balances: opened, stored, acknowledged."""
        self.open(receipt, source=f"file-{receipt}")
        self.insert(receipt, team, hour, stored)
        self.reject(receipt, team, hour, sum(count for outcome, count in others if outcome == Outcome.REJECTED))
        counts = Counter({Outcome.RECEIVED: stored, Outcome.STORED: stored})
        for outcome, count in others:
            counts.update({Outcome.RECEIVED: count, outcome: count})
        self.close(receipt, {(team, hour, outcome): count for outcome, count in counts.items()}, source=f"file-{receipt}")

    def spoil(self, sql: str) -> None:
        self.client.command(f"{sql} SETTINGS mutations_sync = 2")

    def audit(self, scope: Scope = Scope()) -> Audit:  # noqa: B008
        return audit(self.client, scope)

    def differences(self, scope: Scope = Scope()) -> list[str]:  # noqa: B008
        """Return what an audit finds, as its users read it."""
        found = self.audit(scope)
        assert found.balanced is not bool(found.differences)
        return [str(difference) for difference in found.differences]


@pytest.fixture
def books(sink: str) -> Books:
    return Books(sink)


OTHERS = [(Outcome.DUPLICATE, 3), (Outcome.LIMITED, 2), (Outcome.REJECTED, 1)]


def test_tables_of_before_positions_were_recorded_are_audited_too(books: Books) -> None:
    books.write(1, 10)
    books.open(2, source="kafka://c/t/0")
    books.client.command("DROP TABLE positions")
    assert books.audit() == Audit(True, 10, 10, 0, 0, 0, 1, [])


def test_empty_tables_balance(books: Books) -> None:
    assert books.audit() == Audit(True, 0, 0, 0, 0, 0, 0, [])


def test_books_that_balance_are_summed_up(books: Books) -> None:
    books.write(1, 10, OTHERS)
    books.write(2, 5, team=2)
    books.write(2**64 - 1, 4, [(Outcome.LIMITED, 6)], hour=NOON + 3600)
    books.write(3, 0, [(Outcome.REJECTED, 8)], team=0)
    assert books.audit() == Audit(True, 39, 19, 3, 8, 9, 0, [])


def test_what_was_written_twice_counts_once(books: Books) -> None:
    books.write(1, 10, OTHERS)
    for _ in range(2):
        books.open(1, source="file-1")
        books.close(1, {(1, NOON, Outcome.RECEIVED): 16, (1, NOON, Outcome.DUPLICATE): 3}, source="file-1")
    assert books.audit() == Audit(True, 16, 10, 3, 2, 1, 0, [])


def test_a_server_is_audited_like_an_embedded_database(engine_url: str) -> None:
    migrate(shared(engine_url))
    books = Books(engine_url)
    books.write(2**64 - 1, 10, OTHERS)
    books.open(2, source="unfinished")
    books.insert(2**64 - 1, 1, NOON + 3600, 1)
    assert books.audit(Scope(until=NOON + 3600, grace=1000)) == Audit(True, 16, 10, 3, 2, 1, 1, [])
    assert books.differences() == [
        f"rows_added: team 1, hour {NEXT_HOUR}: +1 (expected 0, found 1)",
        "unfinished: unfinished [0, 100) was opened and never acknowledged",
    ]


def test_a_row_that_was_deleted_is_missed(books: Books) -> None:
    books.write(1, 10, OTHERS)
    books.write(2, 10, team=2)
    books.spoil("ALTER TABLE events DELETE WHERE team_id = 1 AND _offset = 4")
    assert books.differences() == [f"rows_missing: team 1, hour {HOUR}: -1 (expected 10, found 9)"]


def test_a_row_that_was_added_under_a_known_receipt_is_found(books: Books) -> None:
    books.write(1, 10, OTHERS)
    books.insert(1, 1, NOON, 2)
    assert books.differences() == [f"rows_added: team 1, hour {HOUR}: +2 (expected 10, found 12)"]


def test_a_row_that_was_inserted_twice_is_found(books: Books) -> None:
    books.write(1, 3)
    books.spoil("INSERT INTO events SELECT * FROM events LIMIT 1")
    assert books.differences() == [f"rows_added: team 1, hour {HOUR}: +1 (expected 3, found 4)"]


@pytest.mark.parametrize("receipt", [0, 77])
def test_a_row_of_no_known_receipt_is_found(books: Books, receipt: int) -> None:
    books.write(1, 10)
    books.insert(receipt, 1, NOON, 3)
    assert books.differences() == [f"unknown_receipt: team 1, hour {HOUR}: +3 (expected 0, found 3)"]


def test_rows_that_moved_to_another_team_or_hour_are_found(books: Books) -> None:
    books.write(1, 10)
    books.spoil(f"ALTER TABLE events UPDATE _timestamp = toDateTime64('{NEXT_HOUR[:-1]}', 6, 'UTC') WHERE _offset = 4")
    assert books.differences() == [
        f"rows_missing: team 1, hour {HOUR}: -1 (expected 10, found 9)",
        f"rows_added: team 1, hour {NEXT_HOUR}: +1 (expected 0, found 1)",
    ]


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        ("duplicate", "-3 (expected 16, found 13)"),
        ("limited", "-2 (expected 16, found 14)"),
        ("received", "+16 (expected 0, found 16)"),
    ],
)
def test_an_outcome_that_is_missing_is_found(books: Books, outcome: str, text: str) -> None:
    books.write(1, 10, OTHERS)
    books.spoil(f"ALTER TABLE outcomes DELETE WHERE outcome = '{outcome}'")
    assert books.differences() == [f"outcomes: team 1, hour {HOUR}: {text}"]


def test_a_missing_outcome_of_rejected_events_is_found_from_both_sides(books: Books) -> None:
    books.write(1, 10, OTHERS)
    books.spoil("ALTER TABLE outcomes DELETE WHERE outcome = 'rejected'")
    assert books.differences() == [
        f"outcomes: team 1, hour {HOUR}: -1 (expected 16, found 15)",
        f"letters_added: team 1, hour {HOUR}: +1 (expected 0, found 1)",
    ]


def test_a_dead_letter_that_is_gone_is_missed_and_one_too_many_is_found(books: Books) -> None:
    books.write(1, 0, [(Outcome.REJECTED, 5)])
    books.write(2, 0, [(Outcome.REJECTED, 5)])
    books.spoil("ALTER TABLE dead_letters DELETE WHERE _receipt = 1 AND _offset IN (2, 3)")
    books.reject(2, 1, NOON, 6)
    assert books.differences() == [
        f"letters_missing: team 1, hour {HOUR}: -2 (expected 10, found 8)",
        f"letters_added: team 1, hour {HOUR}: +1 (expected 10, found 11)",
    ]


def test_dead_letters_that_were_written_twice_count_once(books: Books) -> None:
    books.write(1, 0, [(Outcome.REJECTED, 5)])
    books.reject(1, 1, NOON, 5)
    assert books.differences() == []


@pytest.mark.parametrize(("days", "missed"), [(26, True), (28, False)])
def test_dead_letters_that_may_have_expired_are_not_missed(books: Books, days: int, missed: bool) -> None:
    books.write(1, 0, [(Outcome.REJECTED, 5)])
    books.spoil("ALTER TABLE dead_letters DELETE WHERE 1")
    books.spoil(f"ALTER TABLE receipts UPDATE written_at = now64(6) - INTERVAL {days} DAY WHERE 1")
    assert bool(books.differences()) is missed


def test_dead_letters_of_a_receipt_that_was_not_acknowledged_count_on_no_side(books: Books) -> None:
    books.open(1)
    books.reject(1, 1, NOON, 3)
    books.reject(77, 1, NOON, 3)
    assert [difference.kind for difference in books.audit().differences] == ["unfinished"]


def test_doubles_of_two_receipts_balance_before_during_and_after_their_removal(books: Books) -> None:
    """Each was reported as stored."""
    books.write(1, 10)
    books.double("_offset < 3", as_receipt="2")
    books.open(2, source="file-2")
    books.close(2, {(1, NOON, Outcome.RECEIVED): 3, (1, NOON, Outcome.STORED): 3}, source="file-2")
    assert books.differences() == []
    books.spoil("OPTIMIZE TABLE events FINAL")  # which leaves them alone
    assert books.client.rows("SELECT count() FROM events") == [(13,)]
    assert books.differences() == []
    compact.compact(books.client)
    for table in ("events", "event_ids"):
        assert books.client.rows(f"SELECT count() FROM {table}") == [(10,)]
    assert books.differences() == []
    books.spoil("ALTER TABLE events DELETE WHERE _offset = 7")
    assert books.differences() == [f"rows_missing: team 1, hour {HOUR}: -1 (expected 13, found 12)"]


def test_a_delivery_that_was_stored_twice_counts_once(books: Books) -> None:
    """Its insert was done, and not reported; so was the next."""
    books.write(1, 10)
    books.double("_offset = 3")
    assert books.differences() == []
    compact.compact(books.client)
    assert books.client.rows("SELECT count() FROM events") == [(10,)]
    assert books.differences() == []


def test_the_winner_of_a_double_that_was_deleted_by_hand_is_missed(books: Books) -> None:
    books.write(1, 10)
    books.double("_offset = 3", as_receipt="2")
    books.open(2, source="file-2")
    books.close(2, {(1, NOON, Outcome.RECEIVED): 1, (1, NOON, Outcome.STORED): 1}, source="file-2")
    compact.compact(books.client)
    books.spoil("ALTER TABLE events DELETE WHERE _offset = 3")
    assert books.differences() == [f"rows_missing: team 1, hour {HOUR}: -1 (expected 11, found 10)"]


def test_a_missing_outcome_of_stored_rows_is_found_from_both_sides(books: Books) -> None:
    books.write(1, 10, OTHERS)
    books.spoil("ALTER TABLE outcomes DELETE WHERE outcome = 'stored'")
    assert books.differences() == [
        f"outcomes: team 1, hour {HOUR}: -10 (expected 16, found 6)",
        f"rows_added: team 1, hour {HOUR}: +10 (expected 0, found 10)",
    ]


def test_a_missing_row_of_one_receipt_is_not_made_up_for_by_another(books: Books) -> None:
    books.write(1, 10)
    books.write(2, 10)
    books.spoil("ALTER TABLE events DELETE WHERE _receipt = 1 AND _offset = 4")
    books.insert(2, 1, NOON, 1)
    assert books.differences() == [
        f"rows_missing: team 1, hour {HOUR}: -1 (expected 20, found 19)",
        f"rows_added: team 1, hour {HOUR}: +1 (expected 20, found 21)",
    ]


def test_a_missing_outcome_of_one_receipt_is_not_made_up_for_by_another(books: Books) -> None:
    books.write(1, 0, [(Outcome.LIMITED, 3)])
    books.write(2, 0, [(Outcome.LIMITED, 3)])
    books.close(1, {(1, NOON, Outcome.LIMITED): 2}, source="file-1")
    books.close(2, {(1, NOON, Outcome.LIMITED): 4}, source="file-2")
    assert books.differences() == [
        f"outcomes: team 1, hour {HOUR}: -1 (expected 6, found 5)",
        f"outcomes: team 1, hour {HOUR}: +1 (expected 6, found 7)",
    ]


def test_a_missing_row_of_one_team_or_hour_is_not_made_up_for_by_another(books: Books) -> None:
    books.write(1, 10, team=1)
    books.write(2, 10, team=2)
    books.write(3, 10, team=1, hour=NOON + 3600)
    books.spoil("ALTER TABLE events DELETE WHERE _receipt = 1 AND _offset = 4")
    books.insert(2, 2, NOON, 1)
    assert books.differences() == [
        f"rows_missing: team 1, hour {HOUR}: -1 (expected 10, found 9)",
        f"rows_added: team 2, hour {HOUR}: +1 (expected 10, found 11)",
    ]


def test_a_range_that_was_never_finished_is_found(books: Books) -> None:
    books.write(1, 10)
    books.open(2, 100, 250, source="gs://b/events.jsonl")
    assert books.differences() == ["unfinished: gs://b/events.jsonl [100, 250) was opened and never acknowledged"]


def test_rows_of_a_range_that_was_not_finished_count_on_no_side(books: Books) -> None:
    """They are known to be incomplete; the range is what is reported."""
    books.open(2, 0, 100)
    books.insert(2, 1, NOON, 5)
    found = books.audit()
    assert [difference.kind for difference in found.differences] == ["unfinished"]
    assert (found.received, found.stored) == (0, 0)


def test_outcomes_whose_receipt_was_not_acknowledged_do_not_count(books: Books) -> None:
    """The worker died between the two. Whether they balance, one way or the other, does not matter either."""
    for receipt, limited in enumerate((2, 3, 4), 1):
        books.write(receipt, 10, OTHERS)
        books.close(receipt, {(1, NOON, Outcome.LIMITED): limited - 1}, source=f"file-{receipt}")
    books.spoil("ALTER TABLE receipts DELETE WHERE status = 'acknowledged'")
    for receipt in (1, 2, 3):
        books.open(receipt, source=f"file-{receipt}")
    assert books.audit(Scope(grace=1000)) == Audit(True, 0, 0, 0, 0, 0, 3, [])


def test_what_one_run_left_open_a_later_run_has_read_in_other_pieces(books: Books) -> None:
    books.open(1, 100, 250)
    books.open(2, 250, 400)
    for receipt, (start, end) in enumerate([(0, 180), (180, 260), (260, 400)], 10):
        books.close(receipt, {}, start, end, run=LATER_RUN)
    assert books.differences() == []


@pytest.mark.parametrize(
    "parts",
    [
        [(0, 180), (181, 250)],
        [(0, 249)],
        [(101, 400)],
        [(0, 100), (250, 400)],
        [],
    ],
)
def test_what_a_later_run_has_read_in_part_is_not_finished(books: Books, parts: list[tuple[int, int]]) -> None:
    books.open(1, 100, 250)
    for receipt, (start, end) in enumerate(parts, 10):
        books.close(receipt, {}, start, end, run=LATER_RUN)
    books.open(2, 0, 1000, source="another file")
    books.close(20, {}, 0, 1000, source="another file", run=LATER_RUN)
    assert books.differences() == ["unfinished: f [100, 250) was opened and never acknowledged"]


def test_an_open_range_does_not_cover_another(books: Books) -> None:
    books.open(1, 100, 250)
    books.open(2, 0, 400, run=LATER_RUN)
    assert books.differences() == [
        "unfinished: f [0, 400) was opened and never acknowledged",
        "unfinished: f [100, 250) was opened and never acknowledged",
    ]


def test_ranges_younger_than_the_grace_are_in_flight(books: Books) -> None:
    books.open(1, 0, 100)
    books.open(2, 100, 200)
    books.spoil("ALTER TABLE receipts UPDATE written_at = now64(6) - INTERVAL 90 SECOND WHERE receipt = 1")
    late = ["unfinished: f [0, 100) was opened and never acknowledged"]
    early = ["unfinished: f [100, 200) was opened and never acknowledged"]
    assert (books.differences(Scope(grace=0)), books.audit(Scope(grace=0)).in_flight) == (late + early, 0)
    assert (books.differences(Scope(grace=60)), books.audit(Scope(grace=60)).in_flight) == (late, 1)
    assert (books.differences(Scope(grace=3600)), books.audit(Scope(grace=3600)).in_flight) == ([], 2)


@pytest.fixture
def days(books: Books) -> Books:
    """Return books over four hours and two teams, in each hour of each team another number of rows and one too many."""
    for number in range(8):
        hour, team = NOON + number // 2 * 3600, 1 + number % 2
        books.write(1 + number, 1 + number, [(Outcome.REJECTED, 1)], team=team, hour=hour)
        books.insert(1 + number, team, hour, 1)
    return books


SCOPES = {
    Scope(): [0, 1, 2, 3, 4, 5, 6, 7],
    Scope(since=NOON + 3600): [2, 3, 4, 5, 6, 7],
    Scope(until=NOON + 3600): [0, 1],
    Scope(since=NOON + 3600, until=NOON + 3 * 3600): [2, 3, 4, 5],
    Scope(team=2): [1, 3, 5, 7],
    Scope(since=NOON + 3600, until=NOON + 2 * 3600, team=1): [2],
    Scope(since=NOON, until=NOON): [],
    Scope(team=3): [],
    # A moment in an hour stands for the hour.
    Scope(since=NOON + 3600 + 1800): [2, 3, 4, 5, 6, 7],
    Scope(until=NOON + 3600 + 1800): [0, 1],
    Scope(since=NOON + 3599, until=NOON + 3 * 3600 - 1): [0, 1, 2, 3],
}


def test_a_scope_limits_both_sides_alike(days: Books) -> None:
    for scope, numbers in SCOPES.items():
        found = days.audit(scope)
        assert found.stored == sum(1 + number for number in numbers), scope
        assert found.received == found.stored + len(numbers), scope
        assert [(each.kind, each.team_id, each.expected, each.found) for each in found.differences] == [
            ("rows_added", 1 + number % 2, 1 + number, 2 + number) for number in numbers
        ], scope


def test_unfinished_ranges_count_whatever_the_scope(books: Books) -> None:
    """Nobody knows what they hold."""
    books.open(1)
    assert len(books.differences(Scope(since=NOON, until=NOON, team=7))) == 1


def test_differences_are_in_order_of_hour_and_team(days: Books) -> None:
    found = [(each.hour, each.team_id) for each in days.audit().differences]
    assert found == sorted(found, key=str)


def test_a_difference_of_thousands_reads_plainly() -> None:
    assert str(Difference("rows_missing", 7, HOUR, 12_000, 1_000)) == (
        f"rows_missing: team 7, hour {HOUR}: -11000 (expected 12000, found 1000)"
    )


POSITION = st.integers(0, 12)
PARTS = st.lists(st.tuples(POSITION, POSITION).map(lambda pair: (min(pair), max(pair))), max_size=6)


@given(POSITION, POSITION, PARTS)
def test_a_range_is_covered_if_each_of_its_positions_is(one: int, other: int, parts: list[tuple[int, int]]) -> None:
    start, end = min(one, other), max(one, other)
    covered = {position for low, high in parts for position in range(low, high)}
    if start < end:
        assert is_covered(start, end, parts) is covered.issuperset(range(start, end))
    else:  # an empty range, as of an empty file: some part must at least reach it
        assert is_covered(start, end, parts) is any(low <= start <= high for low, high in parts)


@pytest.mark.parametrize(
    ("ranges", "begun", "lost", "waiting"),
    [
        ([Range(0, 5, True, 9, 1), Range(5, 9, False, 9, 2)], [], [], 1),  # the broker has it still
        ([Range(0, 5, False, 9, 1), Range(5, 9, True, 9, 2)], [], [], 1),  # out of order: the next run begins at 0
        ([Range(0, 5, False, 9, 1), Range(0, 3, True, 5, 4), Range(3, 7, True, 5, 5)], [(0, 3)], [], 0),
        ([Range(0, 5, False, 9, 1), Range(0, 3, True, 5, 4), Range(3, 7, False, 5, 5)], [(0, 3)], [], 1),  # read again, and at work
        ([Range(0, 5, False, 9, 1), Range(6, 9, True, 5, 4)], [(6, 3)], [(0, 5)], 0),  # a later run began behind it
        ([Range(0, 5, False, 9, 1), Range(2, 9, True, 5, 4)], [(2, 3)], [(0, 5)], 0),
        ([Range(0, 5, False, 9, 1), Range(6, 9, True, 5, 4)], [(0, 3)], [], 1),  # of a run that began before it: it is on its way
        ([Range(0, 5, False, 9, 4), Range(6, 9, True, 5, 5)], [(6, 3)], [], 1),  # a slow job of the group, that goes on: see below
        ([Range(0, 5, False, 9, 1), Range(0, 5, False, 3, 2), Range(0, 5, False, 1, 3)], [], [], 1),  # the same run, twice more
        ([Range(0, 5, False, 9, 1), Range(0, 3, True, 9, 2)], [(3, 3)], [], 1),  # begun within: the rest is read
    ],
)
def test_what_a_topic_has_lost(ranges: list[Range], begun: list[tuple[int, int]], lost: list[tuple[int, int]], waiting: int) -> None:
    found, at_work = of_topic(ranges, begun)
    assert ([part.span for part in found], at_work) == (lost, waiting)


class Group:
    """Jobs of a consumer group that read one partition, and what they write into the ledger."""

    def __init__(self) -> None:
        self.clock = self.offset = 0
        self.receipts: dict[int, Range] = {}
        self.begun: list[tuple[int, int]] = []
        self.jobs: list[Offsets] = []
        self.handed: list[tuple[Offsets, int, int, int]] = []  # whose, receipt, start, end; not opened yet

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    def start(self) -> None:
        self.jobs.append(Offsets(Committed(self.offset)))
        self.begun.append((self.offset, self.tick()))

    def read(self, job: Offsets, size: int) -> None:
        receipt = self.tick()
        start = job.hand_out(receipt, job.next + size)
        self.handed.append((job, receipt, start, job.next))

    def open(self, place: int) -> None:
        """Receipts are opened in any order."""
        job, receipt, start, end = self.handed.pop(place)
        if job in self.jobs:
            self.receipts[receipt] = Range(start, end, False, 0, self.tick())

    def acknowledge(self, job: Offsets, receipt: int) -> None:
        self.receipts[receipt] = self.receipts[receipt]._replace(is_done=True, at=self.tick())
        job.complete(receipt)

    def commit(self, job: Offsets) -> None:
        self.offset = job.done.offset

    def judged(self) -> list[tuple[int, int]]:
        return [part.span for part in of_topic(list(self.receipts.values()), self.begun)[0]]


STEPS = st.lists(st.tuples(st.sampled_from(["start", "read", "open", "acknowledge", "commit", "die"]), st.integers(0, 9)), max_size=60)


def play(group: Group, steps: Sequence[tuple[str, int]]) -> None:
    owners: dict[int, Offsets] = {}
    for what, number in steps:
        job = group.jobs[number % len(group.jobs)] if group.jobs else None
        if what == "start" and len(group.jobs) < 3:
            group.start()
        elif what == "open" and group.handed:
            owner, receipt, *_ = group.handed[number % len(group.handed)]
            owners[receipt] = owner
            group.open(number % len(group.handed))
        elif job is not None and what == "read":
            group.read(job, 1 + number)
        elif job is not None and what == "commit":
            group.commit(job)
        elif job is not None and what == "die":
            group.jobs.remove(job)
        elif what == "acknowledge":
            mine = [one for one, part in group.receipts.items() if not part.is_done and owners[one] in group.jobs]
            if mine:
                receipt = mine[number % len(mine)]
                group.acknowledge(owners[receipt], receipt)


@given(STEPS)
def test_jobs_of_one_group_are_never_accused_however_they_are_interleaved(steps: Sequence[tuple[str, int]]) -> None:
    group = Group()
    play(group, steps)
    assert group.judged() == []


@given(STEPS, st.integers(1, 50))
def test_an_offset_that_went_past_what_nobody_acknowledged_is_found(steps: Sequence[tuple[str, int]], further: int) -> None:
    """A job that was wrong, or somebody: the next run begins behind an open range."""
    group = Group()
    play(group, steps)
    done = united([part.span for part in group.receipts.values() if part.is_done])
    group.offset = max((part.start for part in group.receipts.values() if not part.is_done), default=0) + further
    hole = [
        part.span for part in group.receipts.values() if not part.is_done and not is_covered(part.start, min(part.end, group.offset), done)
    ]
    group.start()
    assert group.judged() == hole


@given(PARTS)
def test_united_parts_are_the_same_positions(parts: list[tuple[int, int]]) -> None:
    found = united(parts)
    assert {place for low, high in found for place in range(low, high)} == {place for low, high in parts for place in range(low, high)}
    assert all(before[1] < after[0] for before, after in itertools.pairwise(found))


def test_a_subscription_loses_nothing_and_old_receipts_are_not_in_flight() -> None:
    ranges = [Range(0, 0, False, 90, 1), Range(0, 0, False, 5, 2), Range(0, 0, True, 5, 2)]
    assert of_subscription(ranges, 60) == ([], 1)
