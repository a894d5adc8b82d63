"""What the limiter marks, and what it tells, against plain readings of the rules."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import Batch, DeadLetter, Event, IngestionWarning
from schemas.reasons import Limit
from schemas.teams import OPEN_REGISTRY, Registry, TeamLimits
from tests.transforms.limits.test_quotas import FakeTable
from transforms.limits import rules as module
from transforms.limits.quotas import Quotas
from transforms.limits.rules import NO_LIMITS, Limiter

HOUR = 3_600_000_000
NOON = 498_612 * HOUR
OVER, DROPPED, TOKEN = (limit.value for limit in (Limit.EVENTS_PER_HOUR, Limit.DROP_DISTINCT_IDS, Limit.DROP_TOKENS))


def event(offset: int, team: int = 1, arrival: int = NOON, who: str = "d", index: int = 0, limited: str = "") -> Event:
    return Event(team, offset.to_bytes(16), "e", who, 0, arrival, b'{"a":1}', "", False, 0, 7, offset, index, limited)


def registry(limits: dict[int, TeamLimits], defaults: TeamLimits = NO_LIMITS) -> Registry:
    return Registry(by_token={}, limits=limits, defaults=defaults)


def quota(limit: int | None) -> Registry:
    return registry({1: TeamLimits(limit)})


def marks(batch: Batch) -> list[str]:
    return [each.limited for each in batch.events]


@pytest.fixture
def limiter() -> Limiter:
    return Limiter(Quotas(FakeTable(), 5.0))


def test_the_first_events_pass_and_the_others_are_marked(limiter: Limiter) -> None:
    limited = limiter.enforce(Batch([event(n) for n in range(5)]), quota(3), 0.0)
    assert marks(limited) == ["", "", "", OVER, OVER]
    assert marks(limiter.enforce(Batch([event(9)]), quota(3), 0.0)) == [OVER]


def test_a_marked_event_loses_its_properties_and_nothing_else(limiter: Limiter) -> None:
    events = [event(0), event(1)]
    limited = limiter.enforce(Batch(events), quota(1), 0.0)
    assert limited.events[0] is events[0]
    assert limited.events[1] == msgspec.structs.replace(events[1], limited=OVER, properties=b"")


def test_the_batch_itself_is_not_changed(limiter: Limiter) -> None:
    letter = DeadLetter(1, "r", "", "s", b"x", NOON, 7, 8, 0)
    warning = IngestionWarning(1, "t", "k", "{}", 1, NOON, 7, 8)
    batch = Batch([event(n, who="x" if n % 2 else "d") for n in range(6)], [letter], [warning], bytes(96))
    before = msgspec.msgpack.encode(batch)
    limited = limiter.enforce(batch, registry({1: TeamLimits(1, drop_distinct_ids=frozenset({"x"}))}), 0.0)
    assert msgspec.msgpack.encode(batch) == before
    assert (limited.letters, limited.keys, limited.warnings[0]) == ([letter], batch.keys, warning)
    assert len(limited.warnings) == 2


def test_nothing_is_copied_when_nothing_is_over(limiter: Limiter) -> None:
    batch = Batch([event(0), event(1, team=2)])
    for teams in (quota(1), quota(None), registry({}), OPEN_REGISTRY):
        assert limiter.enforce(batch, teams, 0.0) is batch


def test_an_empty_batch_passes(limiter: Limiter) -> None:
    batch = Batch(letters=[DeadLetter(0, "r", "", "s", b"x", NOON, 7, 8, 0)])
    assert limiter.enforce(batch, quota(0), 0.0) is batch


def test_a_quota_of_nothing_lets_nothing_through(limiter: Limiter) -> None:
    assert marks(limiter.enforce(Batch([event(0), event(1, team=2)]), quota(0), 0.0)) == [OVER, ""]


def test_teams_without_an_entry_have_the_defaults(limiter: Limiter) -> None:
    teams = registry({2: TeamLimits(None)}, defaults=TeamLimits(1))
    batch = Batch([event(n, team) for n, team in enumerate([1, 1, 2, 2, 3, 3])])
    assert marks(limiter.enforce(batch, teams, 0.0)) == ["", OVER, "", "", "", OVER]


def test_distinct_ids_are_dropped_by_their_own_team(limiter: Limiter) -> None:
    teams = registry({1: TeamLimits(drop_distinct_ids=frozenset({"probe"}))})
    batch = Batch([event(0, 1, who="probe"), event(1, 1, who="Probe"), event(2, 2, who="probe")])
    limited = limiter.enforce(batch, teams, 0.0)
    assert marks(limited) == [DROPPED, "", ""]
    assert limited.events[0].properties == b""
    assert limited.warnings == []


def test_events_that_are_limited_anyway_cost_no_quota(limiter: Limiter) -> None:
    teams = registry({1: TeamLimits(2, drop_distinct_ids=frozenset({"probe"}))})
    events = [event(0, who="probe"), event(1, limited=TOKEN), event(2), event(3, who="probe", limited=TOKEN), event(4), event(5)]
    assert marks(limiter.enforce(Batch(events), teams, 0.0)) == [DROPPED, TOKEN, "", TOKEN, "", OVER]


def test_an_hour_of_arrival_ends_where_the_next_begins(limiter: Limiter) -> None:
    arrivals = [NOON, NOON + HOUR - 1, NOON + HOUR, NOON - 1]
    limited = limiter.enforce(Batch([event(n, arrival=arrival) for n, arrival in enumerate(arrivals)]), quota(1), 0.0)
    assert marks(limited) == ["", OVER, "", ""]


def test_a_backlog_has_the_quota_of_each_of_its_hours(limiter: Limiter) -> None:
    events = [event(n, arrival=NOON + n % 6 * HOUR) for n in range(60)]
    limited = limiter.enforce(Batch(events[:30]), quota(8), 0.0).events + limiter.enforce(Batch(events[30:]), quota(8), 0.0).events
    passed = Counter(each.arrival for each in limited if not each.limited)
    assert passed == {NOON + hour * HOUR: 8 for hour in range(6)}


def test_a_message_that_is_cut_into_two_batches_is_charged_for_both(limiter: Limiter) -> None:
    events = [event(0, index=index) for index in range(6)]
    found = [limiter.enforce(Batch(part), quota(3), 0.0) for part in (events[:2], events[2:4], events[4:])]
    assert [marks(part) for part in found] == [["", ""], ["", OVER], [OVER, OVER]]


def test_a_quota_may_change_from_batch_to_batch(limiter: Limiter) -> None:
    numbers = iter(range(0, 100, 10))

    def passed(limit: int | None) -> int:
        first = next(numbers)
        return marks(limiter.enforce(Batch([event(first + n) for n in range(4)]), quota(limit), 0.0)).count("")

    assert passed(6) == 4
    assert passed(6) == 2
    assert passed(9) == 3  # raised
    assert passed(5) == 0  # lowered below what was used
    assert passed(None) == 4  # removed: nothing is counted while there is no limit
    assert passed(10) == 1


def test_the_same_batch_gets_the_same_marks_again(limiter: Limiter) -> None:
    batches = [Batch([event(10 * part + n) for n in range(4)]) for part in range(3)]
    first = [limiter.enforce(batch, quota(6), 0.0) for batch in batches]
    assert [limiter.enforce(batch, quota(6), 100.0) for batch in batches] == first
    assert [marks(each).count("") for each in first] == [4, 2, 0]


def test_a_team_is_told_once_an_hour(limiter: Limiter) -> None:
    batches = [Batch([event(100 * part + n, 1 + n % 2, NOON + n % 4 // 2 * HOUR) for n in range(20)]) for part in range(5)]
    teams = registry({1: TeamLimits(7), 2: TeamLimits(7)})
    found = [warning for batch in batches for warning in limiter.enforce(batch, teams, 0.0).warnings]
    hours = [str(NOON // 1_000_000), str((NOON + HOUR) // 1_000_000)]
    assert sorted((each.team_id, each.key) for each in found) == [(1, hours[0]), (1, hours[1]), (2, hours[0]), (2, hours[1])]


def test_a_warning_tells_the_limit_and_the_first_event_over_it(limiter: Limiter) -> None:
    events = [event(n, arrival=NOON + n) for n in range(5)]
    (warning,) = limiter.enforce(Batch(events), quota(3), 0.0).warnings
    hour = NOON // 1_000_000
    assert json.loads(warning.details) == {"limit": "events_per_hour", "value": 3, "hour": hour}
    assert warning == IngestionWarning(1, "quota_exceeded", str(hour), warning.details, 1, NOON + 3, 7, 3)


def test_the_batch_that_warned_warns_the_same_when_it_is_run_again(limiter: Limiter) -> None:
    """Its bundle may have failed before the warning was stored."""
    batches = [Batch([event(10 * part + n) for n in range(4)]) for part in range(3)]
    first = [limiter.enforce(batch, quota(6), 0.0).warnings for batch in batches]
    again = [limiter.enforce(batch, quota(6), 0.0).warnings for batch in batches]
    assert [len(each) for each in first] == [0, 1, 0]
    assert again == first


def test_memory_of_warnings_is_bounded(monkeypatch: pytest.MonkeyPatch, limiter: Limiter) -> None:
    monkeypatch.setattr(module, "TEAM_HOURS", 10)
    for team in range(100):
        limiter.enforce(Batch([event(team, team)]), registry({}, TeamLimits(0)), 0.0)
    assert len(limiter._warned) == 10


def test_one_reading_of_the_table_serves_a_batch() -> None:
    table = FakeTable()
    batch = Batch([event(n, team=n % 20, arrival=NOON + n % 3 * HOUR) for n in range(300)])
    Limiter(Quotas(table, 5.0)).enforce(batch, registry({}, TeamLimits(1)), 0.0)
    assert [len(reading) for reading in table.readings] == [60]


def test_a_team_that_floods_does_not_change_what_another_gets() -> None:
    """G8: beside a flood, the small team's events have the marks that they have alone."""
    teams = registry({1: TeamLimits(100), 2: TeamLimits(10)})
    small = [event(10_000 + n, 2) for n in range(15)]
    flood = [event(n, 1) for n in range(3_000)]
    alone = marks(Limiter(Quotas(FakeTable(), 5.0)).enforce(Batch(small), teams, 0.0))
    beside = Limiter(Quotas(FakeTable(), 5.0))
    found = []
    for start in range(15):
        limited = beside.enforce(Batch([*flood[start::15], small[start]]), teams, float(start))
        found += [each.limited for each in limited.events if each.team_id == 2]
    assert found == alone


EVENTS = st.lists(
    st.tuples(st.sampled_from([1, 2, 3]), st.integers(0, 2), st.sampled_from(["d", "probe"]), st.sampled_from(["", "", "", TOKEN])),
    max_size=60,
)
LIMITS = st.builds(TeamLimits, st.none() | st.integers(0, 12), st.just(frozenset()), st.sampled_from([frozenset(), frozenset({"probe"})]))


@given(EVENTS, st.lists(st.integers(0, 20), max_size=8), st.fixed_dictionaries({1: LIMITS, 2: LIMITS}), LIMITS)
def test_marks_are_those_of_one_event_after_the_other(
    drawn: list[tuple[int, int, str, str]], cuts: list[int], limits: dict[int, TeamLimits], defaults: TeamLimits
) -> None:
    events = [
        event(n, team, NOON + hour * HOUR, who, limited=limited) for n, (team, hour, who, limited) in enumerate(drawn)
    ]  # fmt: skip
    limiter, teams = Limiter(Quotas(FakeTable(), 5.0)), registry(limits, defaults)
    found = [mark for now, part in enumerate(_cut(events, cuts)) for mark in marks(limiter.enforce(Batch(part), teams, float(now)))]
    assert found == list(_one_by_one(events, limits, defaults))


def _cut(events: Sequence[Event], cuts: Sequence[int]) -> Iterable[list[Event]]:
    start = 0
    for size in cuts:
        yield list(events[start : start + size])
        start += size
    yield list(events[start:])


def _one_by_one(events: Iterable[Event], limits: dict[int, TeamLimits], defaults: TeamLimits) -> Iterable[str]:
    passed: Counter[tuple[int, int]] = Counter()
    for each in events:
        rule = limits.get(each.team_id, defaults)
        hour = (each.team_id, each.arrival - each.arrival % HOUR)
        if each.limited:
            yield each.limited
        elif each.distinct_id in rule.drop_distinct_ids:
            yield DROPPED
        elif rule.events_per_hour is not None and passed[hour] >= rule.events_per_hour:
            yield OVER
        else:
            passed[hour] += 1
            yield ""
