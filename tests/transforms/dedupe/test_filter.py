"""The filter against a model that remembers everything, over batches, days, restarts and rollbacks."""

import itertools
import random
from collections.abc import Collection, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.event import Event
from schemas.identity import unique_key
from tests.transforms.state_fakes import FakeState
from transforms.dedupe.filter import DAY, LATE, REFRESH, RING, Delivery, DuplicateFilter, StoredIds, Verdicts, check_shards

OFFSETS = itertools.count(1_000_000)


def event(uuid: int, day: int = 100, team: int = 1, offset: int | None = None, limited: str = "") -> Event:
    """Return an event; without an offset it is a delivery of its own."""
    place = next(OFFSETS) if offset is None else offset
    return Event(team, uuid.to_bytes(16), "e", "d", 0, day * DAY + 5, b"{}", "", False, 0, 7, place, 0, limited)


def keys_of(events: Sequence[Event]) -> bytes:
    return b"".join(unique_key(each.team_id, each.uuid) for each in events)


class FakeTable:
    """Rows of `event_ids`: what was stored, when, by which run."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, bytes, Delivery]] = []
        self.stored_at: list[int] = []
        self.loads: list[tuple[int, ...]] = []
        self.asked: list[set[int]] = []
        self.others = False
        self.frontier = 2**62  # none is behind the clock
        self.alone = False

    def store(self, events: Sequence[Event], now: int = 0) -> None:
        self.rows += [
            (each.arrival // DAY, unique_key(each.team_id, each.uuid), (each.receipt, each.offset, each.index)) for each in events
        ]
        self.stored_at += [now] * len(events)

    def load(self, shard: int, shards: int, days: Sequence[int], since: int) -> StoredIds:
        self.loads.append(tuple(days))
        found: dict[int, bytes] = {}
        rows = [row for row, stored_at in zip(self.rows, self.stored_at, strict=True) if row[0] in days and stored_at >= since]
        for day, key, _ in rows:
            found[day] = found.get(day, b"") + key
        return StoredIds(found, {delivery[0] for _, _, delivery in rows})

    def deliveries(self, shard: int, shards: int, receipts: Collection[int]) -> set[Delivery]:
        self.asked.append(set(receipts))
        return {delivery for _, _, delivery in self.rows if delivery[0] in receipts}

    def final(self) -> int:
        return self.frontier

    def others_since(self, since: int) -> bool:
        return self.others


class Shard:
    """One shard with its state, its table and a filter in a process that can be replaced."""

    def __init__(self, log: bool = True, table: FakeTable | None = None) -> None:
        self.log, self.table = log, table
        self.state = FakeState(RING)
        self.now = 0
        self.restart()

    def restart(self) -> None:
        self.filter = DuplicateFilter(1, self.table, self.log)

    def judge(self, events: Sequence[Event], store: bool = True, owner: object = None) -> Verdicts:
        verdicts = self.filter.judge(0, events, keys_of(events), self.now, self.state.head, self.state.logs, owner)
        if self.table is not None and store:
            self.table.store([events[place] for place in verdicts.new], self.now)
        return verdicts


def test_the_second_of_two_is_a_duplicate_however_else_they_differ() -> None:
    shard = Shard()
    other = Event(1, (5).to_bytes(16), "another", "id", 9, 103 * DAY, b'{"a":1}', "c", True, 1, 8, 9, 0)
    assert shard.judge([event(5), event(6), event(5)]) == Verdicts([0, 1], [2], [], [])
    assert shard.judge([other]) == Verdicts([], [0], [], [])


def test_teams_are_kept_apart() -> None:
    shard = Shard()
    assert shard.judge([event(5, team=1), event(5, team=2), event(5, team=-1)]).new == [0, 1, 2]


def test_a_team_cannot_make_up_the_key_of_another() -> None:
    """Its 16 bytes after the team's prefix are hashed with it: shifting bytes between the two gives another key."""
    assert unique_key(1, (256).to_bytes(16)) != unique_key(256, (1).to_bytes(16))


@pytest.mark.parametrize(("gap", "dropped"), [(0, True), (7, True), (-7, True), (8, False), (-8, False), (30, False)])
@pytest.mark.parametrize("with_table", [True, False])
def test_the_window_is_seven_days_of_arrival_both_ways(gap: int, dropped: bool, with_table: bool) -> None:
    shard = Shard(table=FakeTable() if with_table else None)
    shard.judge([event(5, day=100)])
    assert bool(shard.judge([event(5, day=100 + gap)]).duplicate) is dropped


def test_limited_events_are_counted_and_not_remembered() -> None:
    shard = Shard()
    assert shard.judge([event(5, limited="events_per_hour")]).limited == [0]
    assert shard.judge([event(5)]).new == [0]


@pytest.mark.parametrize("log", [True, False])
def test_a_bundle_that_is_run_again_finds_its_own_rows_stored(log: bool) -> None:
    """Insert done, state rolled back: the second attempt reports the same outcomes, and stores nothing again."""
    shard = Shard(log, FakeTable())
    shard.judge([event(1, offset=0), event(2, offset=1)])
    before = shard.state.copy()
    bundle = [event(2, offset=10), event(3, offset=11), event(3, offset=12), event(4, offset=13)]
    assert shard.judge(bundle) == Verdicts([1, 3], [0, 2], [], [])
    shard.state = before
    assert shard.judge(bundle) == Verdicts([], [0, 2], [], [1, 3])
    assert shard.judge([event(4, offset=14)]).duplicate == [0]


def test_an_event_that_was_stored_stays_stored_when_a_second_attempt_would_limit_it() -> None:
    shard = Shard(table=FakeTable())
    before = shard.state.copy()
    shard.judge([event(1, offset=10)])
    shard.state = before
    assert shard.judge([event(1, offset=10, limited="events_per_hour")]).stored == [0]


def test_a_bundle_that_failed_before_its_insert_stores_everything() -> None:
    shard = Shard(table=FakeTable())
    before = shard.state.copy()
    bundle = [event(3, offset=11), event(3, offset=12)]
    shard.judge(bundle, store=False)
    shard.state = before
    assert shard.judge(bundle) == Verdicts([0], [1], [], [])


def test_a_new_job_knows_what_the_tables_know() -> None:
    table = FakeTable()
    Shard(table=table).judge([event(1), event(2, day=95), event(3, day=80)])
    assert Shard(table=table).judge([event(1), event(2), event(3)]) == Verdicts([2], [0, 1], [], [])


def test_deliveries_are_asked_for_only_when_a_known_event_came_with_a_receipt_that_was_at_work_before() -> None:
    table = FakeTable()
    Shard(table=table).judge([event(1, offset=1)])
    shard = Shard(table=table)
    shard.judge([event(2, offset=2)])
    assert table.asked == []
    assert shard.judge([event(1, offset=1)]).stored == [0]
    assert shard.judge([event(1, offset=5)]).duplicate == [0]
    assert table.asked == [{7}], "once"


def test_what_another_job_stores_is_known_half_a_minute_later() -> None:
    table = FakeTable()
    table.others = True
    one, other = Shard(table=table), Shard(table=table)
    for shard in (one, other):
        shard.judge([event(0)])
    for minute in range(20):
        one.now = other.now = minute * 60_000_000
        one.judge([event(minute + 1)])
        other.now += REFRESH
        assert other.judge([event(minute + 1)]).duplicate == [0], "also long after both have started"


@pytest.mark.parametrize("seen_after", [1, LATE, 3600_000_000])
def test_the_last_insert_of_a_killed_job_is_known_however_quiet_it_was_since(seen_after: int) -> None:
    """It becomes visible after its successor has built its index, and the message that it came from is read again much later."""
    table = FakeTable()
    shard = Shard(table=table)
    shard.judge([event(1)])
    table.store([event(5)], now=-1)
    shard.now = REFRESH + seen_after
    assert shard.judge([event(5)]).duplicate == [0]


def test_a_job_that_is_alone_does_not_look_again() -> None:
    table = FakeTable()
    shard = Shard(table=table)
    for second in range(0, 3600, 10):
        shard.now = second * 1_000_000
        shard.judge([event(second)])
    assert len(table.loads) <= 1 + (LATE + REFRESH) // REFRESH + 1
    shard.table.alone = True  # type: ignore[union-attr]
    shard.restart()
    shard.judge([event(-1 % 2**64)])
    loads = len(table.loads)
    shard.now += 2 * REFRESH
    shard.judge([event(99)])
    assert len(table.loads) == loads


def test_a_clock_that_goes_back_looks_again_and_goes_on() -> None:
    table = FakeTable()
    table.others = True
    shard = Shard(table=table)
    shard.now = 10 * REFRESH
    shard.judge([event(1)])
    table.store([event(5)], now=shard.now)
    shard.now = 9 * REFRESH
    assert shard.judge([event(5)]).duplicate == [0]


def test_what_a_worker_learned_of_another_job_outlives_it() -> None:
    """It is in the runner's state, long after it was stored, and without being read again."""
    table = FakeTable()
    table.others = True
    shard = Shard(table=table)
    shard.judge([event(1)])
    table.store([event(5)], now=1)
    for minute in range(1, 40):
        shard.now = minute * 60_000_000
        shard.judge([event(1000 + minute)])
    shard.restart()
    assert shard.judge([event(5)]).duplicate == [0]


def test_an_insert_that_hangs_for_an_hour_is_known_when_it_is_done() -> None:
    """Its rows have the time of its start, and the frontier stands still meanwhile."""
    table = FakeTable()
    table.others = True
    shard = Shard(table=table)
    began = table.frontier = 10 * REFRESH
    for minute in range(60):
        shard.now = began + minute * 60_000_000
        shard.judge([event(1000 + minute)])
    table.store([event(5)], now=began)
    table.frontier = 2**62
    shard.now += REFRESH
    assert shard.judge([event(5)]).duplicate == [0]


def test_days_are_not_forgotten_while_events_of_them_are_not_stored() -> None:
    """One thread's bundle ends while another's, with events of more days than an index keeps, is at work."""
    shard = Shard(log=False, table=FakeTable())
    mine, other = Owner(), Owner()
    for day in range(100, 400, 10):
        assert shard.judge([event(day, day=day)], store=False, owner=mine).new == [0]
    shard.judge([event(1, day=500)], owner=other)
    shard.filter.evict(other)
    assert all(shard.judge([event(day, day=day)], store=False, owner=mine).duplicate == [0] for day in range(100, 400, 10))
    shard.filter.evict(mine)
    (index,) = shard.filter.indexes.values()
    assert len(index.days) <= 64


class Owner:
    """A bundle."""


@settings(max_examples=200)
@given(st.data())
def test_two_jobs_with_logs_store_each_id_once_however_they_are_restarted(data: st.DataObject) -> None:
    """Each looks at what the other has stored before it judges; workers restart, state goes back to older copies, days are evicted."""
    table = FakeTable()
    table.others = True
    jobs = [Shard(table=table), Shard(table=table)]
    copies = [job.state.copy() for job in jobs]
    now = 0
    for _ in range(data.draw(st.integers(1, 25))):
        now += data.draw(st.sampled_from([REFRESH, 60_000_000, 20 * 60_000_000, 3 * 3600_000_000]))
        which = data.draw(st.integers(0, 1))
        job, job.now = jobs[which], now
        match data.draw(st.integers(0, 5)):
            case 0:
                job.restart()
            case 1:
                job.state = copies[which].copy()
            case 2:
                copies[which] = job.state.copy()
            case 3:
                job.filter.evict()
        days = data.draw(st.lists(st.sampled_from([100, 101, 107, 109, 130]), min_size=1, max_size=4))
        job.judge([event(data.draw(st.integers(0, 5)), day=day) for day in days])
    stored = sorted((key, day) for day, key, _ in table.rows)
    for (key, day), (next_key, next_day) in itertools.pairwise(stored):
        assert key != next_key or next_day - day > 7, "an id was stored twice within its window"


def test_days_before_the_ring_are_read_back_from_the_table() -> None:
    """A backfill of old days, in any order, after the log has moved on."""
    table = FakeTable()
    shard = Shard(table=table)
    shard.judge([event(1, day=100), event(2, day=50)])
    shard.restart()
    assert shard.judge([event(2, day=51), event(1, day=101)]).duplicate == [0, 1]


def test_the_log_holds_a_ring_of_days_and_drops_those_that_have_passed() -> None:
    shard = Shard()
    for day in range(100, 120):
        shard.judge([event(day, day=day)])
    assert sum(len(log.chunks) for log in shard.state.logs) == RING
    shard.restart()
    assert shard.judge([event(119, day=119), event(112, day=119), event(111, day=119)]) == Verdicts([2], [0, 1], [], [])


def test_memory_is_bounded_in_days_and_what_is_evicted_is_read_back() -> None:
    table = FakeTable()
    shard = Shard(log=False, table=table)
    for day in range(100, 400):
        shard.judge([event(day, day=day)])
        if shard.filter.is_crowded():
            shard.filter.evict()
    (index,) = shard.filter.indexes.values()
    assert len(index.days) <= 64 + 15
    assert len(index.ids) <= 64 + 15
    assert shard.judge([event(100, day=100), event(399, day=399)]).duplicate == [0, 1]


def test_arrivals_of_any_year_are_accepted() -> None:
    shard = Shard()
    assert shard.judge([event(1, day=-5), event(2, day=200_000)]).new == [0, 1]
    assert shard.judge([event(1, day=-5), event(2, day=200_000)]).duplicate == [0, 1]


@pytest.mark.parametrize("shards", [0, 3, 512, -1])
def test_a_number_of_shards_that_does_not_divide_the_buckets_is_refused(shards: int) -> None:
    with pytest.raises(ValueError, match=f"shards is {shards}"):
        check_shards(shards)


@settings(max_examples=200)
@given(st.data())
def test_any_history_stores_each_id_once_a_window(data: st.DataObject) -> None:
    """Batches of random ids and days, with restarts, rollbacks before and after the insert, and evictions."""
    table = FakeTable()
    shard = Shard(data.draw(st.booleans()), table)
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    outcomes: dict[int, str] = {}
    offset = 0
    for _ in range(data.draw(st.integers(1, 12))):
        batch = []
        for _ in range(rng.randrange(1, 8)):
            batch.append(event(rng.randrange(6), day=100 + rng.choice([0, 0, 1, 3, 7, 8, 20, -9]), offset=offset))
            offset += 1
        match rng.randrange(6):
            case 0:
                shard.restart()
            case 1:
                before = shard.state.copy()
                shard.judge(batch)
                shard.state = before
            case 2:
                before = shard.state.copy()
                shard.judge(batch, store=False)
                shard.state = before
                shard.restart()
            case 3:
                shard.filter.evict()
        verdicts = shard.judge(batch)
        for name, places in verdicts._asdict().items():
            for place in places:
                assert outcomes.setdefault(batch[place].offset, name) == name
    assert len(outcomes) == offset
    stored = sorted((key, day) for day, key, _ in table.rows)
    for (key, day), (next_key, next_day) in itertools.pairwise(stored):
        assert key != next_key or next_day - day > 7, "an id was stored twice within its window"
    deliveries = [delivery for _, _, delivery in table.rows]
    assert sorted(deliveries) == sorted((7, place, 0) for place, name in outcomes.items() if name in ("new", "stored"))
