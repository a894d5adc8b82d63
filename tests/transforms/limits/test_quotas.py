"""Quotas against a table in memory and a clock that tests set."""

from collections.abc import Callable, Iterable
from itertools import count
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import Unavailable
from transforms.limits import quotas as module
from transforms.limits.quotas import Quotas, TeamHour

HOUR = 1_795_000_000 // 3600 * 3600
TEAM = (1, HOUR)
REFRESH = 5.0


class FakeTable:
    """Stored events; counts the readings."""

    def __init__(self) -> None:
        self.stored: dict[TeamHour, int] = {}
        self.readings: list[set[TeamHour]] = []
        self.is_away = False

    def read(self, team_hours: Iterable[TeamHour]) -> dict[TeamHour, int]:
        if self.is_away:
            raise Unavailable("the table does not answer")
        asked = set(team_hours)
        self.readings.append(asked)
        return {team_hour: events for team_hour, events in self.stored.items() if team_hour in asked}

    def store(self, team_hour: TeamHour, events: int) -> None:
        self.stored[team_hour] = self.stored.get(team_hour, 0) + events


class Process:
    """A process with its quotas and the table that all processes share. Each batch is a new one."""

    numbers = count()

    def __init__(self, table: FakeTable) -> None:
        self.quotas = Quotas(table, REFRESH)

    def grant(self, wanted: int, limit: int, now: float = 0.0, team_hour: TeamHour = TEAM) -> int:
        return self.quotas.grant((7, next(self.numbers), 0), team_hour, wanted, limit, now)


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def process(table: FakeTable) -> Process:
    return Process(table)


def test_grants_what_is_left_and_then_nothing(process: Process) -> None:
    assert [process.grant(40, 100) for _ in range(4)] == [40, 40, 20, 0]


def test_what_is_stored_counts(table: FakeTable, process: Process) -> None:
    table.store(TEAM, 70)
    assert process.grant(40, 100) == 30


def test_what_the_process_let_through_counts_before_and_after_it_is_stored(table: FakeTable, process: Process) -> None:
    process.grant(60, 100)
    assert process.grant(10, 100, now=REFRESH) == 10  # nothing of it is stored yet
    table.store(TEAM, 70)
    assert process.grant(40, 100, now=2 * REFRESH) == 30  # all of it is stored: it does not count twice


def test_teams_and_hours_do_not_touch_each_other(table: FakeTable, process: Process) -> None:
    table.store((2, HOUR), 1_000_000)
    assert process.grant(500, 100, team_hour=(2, HOUR)) == 0
    assert process.grant(500, 100, team_hour=(1, HOUR)) == 100
    assert process.grant(500, 100, team_hour=(1, HOUR - 3600)) == 100
    assert process.grant(500, 300, team_hour=(3, HOUR)) == 300


def test_a_quota_that_shrinks_below_what_was_used_grants_nothing(process: Process) -> None:
    process.grant(80, 100)
    assert process.grant(10, 50) == 0
    assert process.grant(10, 85) == 5


def test_what_others_store_is_seen_after_the_refresh_and_not_before(table: FakeTable, process: Process) -> None:
    process.grant(10, 100, now=1000.0)
    table.store(TEAM, 95)
    assert process.grant(10, 100, now=1000.0 + REFRESH - 0.01) == 10
    assert process.grant(10, 100, now=1000.0 + REFRESH) == 5


def test_a_team_that_paused_here_is_read_again_when_it_comes_back(table: FakeTable, process: Process) -> None:
    """Meanwhile it sent to other processes, and only other teams were read here."""
    process.grant(10, 100, now=0.0)
    for second in range(1, 100):
        process.grant(1, 1_000, now=second, team_hour=(2, HOUR))
    table.store(TEAM, 100)
    assert process.grant(10, 100, now=99.5) == 0


def test_one_reading_serves_all_that_are_active(table: FakeTable, process: Process) -> None:
    teams = [(team, HOUR) for team in range(50)]
    for second in range(20):
        process.quotas.expect(teams)
        for team_hour in teams:
            process.grant(1, 100, now=second, team_hour=team_hour)
    assert table.readings == [set(teams)] * 4


def test_teams_that_went_away_are_not_read_again(table: FakeTable, process: Process) -> None:
    for second in range(3):
        process.grant(1, 100, now=second * REFRESH, team_hour=(second, HOUR))
    assert table.readings == [{(0, HOUR)}, {(1, HOUR)}, {(2, HOUR)}]


def test_a_batch_that_is_asked_again_gets_its_answer_and_is_charged_once(process: Process) -> None:
    batches = [((7, offset, 0), 30) for offset in range(5)]
    first = [process.quotas.grant(name, TEAM, wanted, 100, 0.0) for name, wanted in batches]
    again = [process.quotas.grant(name, TEAM, wanted, 100, 60.0) for name, wanted in reversed(batches)]
    assert first == [30, 30, 30, 10, 0]
    assert again == first[::-1]
    assert process.grant(10, 100) == 0


@pytest.mark.parametrize("other", [(8, 1, 0), (7, 2, 0), (7, 1, 1)])
def test_batches_differ_by_receipt_offset_or_index(process: Process, other: tuple[int, int, int]) -> None:
    assert process.quotas.grant((7, 1, 0), TEAM, 60, 100, 0.0) == 60
    assert process.quotas.grant(other, TEAM, 60, 100, 0.0) == 40


def test_a_batch_is_charged_for_each_of_its_teams_and_hours(process: Process) -> None:
    limits = {(1, HOUR): 50, (2, HOUR): 40, (1, HOUR + 3600): 30}
    assert {team_hour: process.quotas.grant((7, 1, 0), team_hour, 60, limit, 0.0) for team_hour, limit in limits.items()} == limits


def test_an_outage_charges_nothing_and_is_over_when_the_table_answers(table: FakeTable, process: Process) -> None:
    process.grant(10, 100)
    table.store(TEAM, 30)
    table.is_away = True
    for _ in range(3):
        with pytest.raises(Unavailable):
            process.quotas.grant((7, -1, 0), TEAM, 50, 100, REFRESH)
    table.is_away = False
    assert process.quotas.grant((7, -1, 0), TEAM, 50, 100, REFRESH) == 50
    assert process.grant(50, 100, REFRESH) == 20


def test_a_new_process_goes_on_where_the_last_one_stopped(table: FakeTable, process: Process) -> None:
    table.store(TEAM, process.grant(60, 100))
    assert Process(table).grant(60, 100) == 40


def test_two_processes_are_over_by_no_more_than_one_passes_between_two_readings(table: FakeTable) -> None:
    one, two = Process(table), Process(table)
    passed = 0
    for second in range(60):
        granted = one.grant(7, 100, second) + two.grant(7, 100, second)
        table.store(TEAM, granted)
        passed += granted
    assert 100 <= passed <= 100 + 7 * REFRESH


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, table: FakeTable, process: Process) -> None:
    """What is forgotten is what was not asked for longest; the table knows it."""
    monkeypatch.setattr(module, "TEAM_HOURS", 10)
    monkeypatch.setattr(module, "MEMO", 10)
    assert process.grant(60, 100, team_hour=(0, HOUR)) == 60  # not stored, so only the process knows
    for team in range(1, 30):
        table.store((team, HOUR), process.grant(60, 100, team_hour=(team, HOUR)))
        assert process.grant(0, 100, team_hour=(0, HOUR)) == 0
    assert len(process.quotas._usage) == len(process.quotas._memo) == 10
    assert [process.grant(60, 100, team_hour=(team, HOUR)) for team in range(30)] == [40] * 30


class Interrupted(int):
    """A number that lets another thread run, for a while, when something is taken from it."""

    def __new__(cls, value: int, other: Callable[[], None]) -> "Interrupted":
        number = super().__new__(cls, value)
        number.other = Thread(target=other)  # type: ignore[attr-defined]
        return number

    def __sub__(self, used: int) -> int:
        self.other.start()  # type: ignore[attr-defined]
        self.other.join(timeout=0.3)  # type: ignore[attr-defined]
        return int(self) - used


def test_two_threads_that_ask_at_once_do_not_both_get_the_rest(process: Process) -> None:
    granted: list[int] = []
    limit = Interrupted(100, lambda: granted.append(process.grant(60, 100)))
    granted.append(process.grant(60, limit))
    limit.other.join()  # type: ignore[attr-defined]
    assert granted == [60, 40]


SPLITS = st.lists(st.integers(0, 60), max_size=30)


@given(SPLITS, st.integers(0, 500))
def test_any_split_into_batches_is_granted_the_quota_exactly(split: list[int], limit: int) -> None:
    process = Process(FakeTable())
    granted = [process.grant(wanted, limit) for wanted in split]
    assert sum(granted) == min(limit, sum(split))
    assert all(0 <= each <= wanted for each, wanted in zip(granted, split, strict=True))


STEPS = st.lists(
    st.tuples(st.sampled_from([(team, HOUR + 3600 * hour) for team in (1, 2) for hour in (0, 1)]), st.integers(0, 60), st.integers(0, 60))
    | st.floats(0, 20)
    | st.just("restart")
    | st.just("repeat"),
    max_size=40,
)


@given(STEPS, st.integers(0, 150))
def test_quotas_are_exact_however_late_rows_are_stored(steps: list[tuple[TeamHour, int, int] | float | str], limit: int) -> None:
    """One process at a time, whose rows are stored in any lag; before a new one starts, all that was granted is stored."""
    table, now = FakeTable(), 0.0
    quotas = Quotas(table, REFRESH)
    wanted: dict[TeamHour, int] = {}
    granted: dict[TeamHour, int] = {}
    done: list[tuple[tuple[int, int, int], TeamHour, int, int]] = []
    for number, step in enumerate(steps):
        if isinstance(step, float):
            now += step
        elif step == "repeat":
            assert all(quotas.grant(name, team_hour, events, limit, now) == answer for name, team_hour, events, answer in done)
        elif step == "restart":
            table.stored, done, quotas = dict(granted), [], Quotas(table, REFRESH)
        else:
            team_hour, events, lag = step
            answer = quotas.grant((7, number, 0), team_hour, events, limit, now)
            done.append(((7, number, 0), team_hour, events, answer))
            wanted[team_hour] = wanted.get(team_hour, 0) + events
            granted[team_hour] = granted.get(team_hour, 0) + answer
            table.stored[team_hour] = max(table.stored.get(team_hour, 0), granted[team_hour] - lag)
    assert granted == {team_hour: min(limit, events) for team_hour, events in wanted.items()}
