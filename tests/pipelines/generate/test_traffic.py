import numpy as np
import pytest

from pipelines.generate.draws import DAY_MICROS, HOUR_MICROS
from pipelines.generate.plan import Plan
from pipelines.generate.teams import PROBE_TEAM, QUOTA_TEAM, RETIRED_TEAM
from pipelines.generate.traffic import Dropped, Fate, Kind, Traffic
from schemas.teams import parse_registry

PLAN = Plan(events=50_000, out="out", duplicates=0.2, invalid=0.1, days=14, teams=20)


@pytest.fixture(scope="module")
def rows():
    return Traffic(PLAN).rows(np.arange(PLAN.events))


def test_a_row_is_the_same_whoever_asks(rows):
    places = np.array([49_999, 17, 20_000])
    alone = Traffic(PLAN).rows(places)
    for name in rows.__dataclass_fields__:
        assert np.array_equal(getattr(alone, name), getattr(rows, name)[places]), name


def test_fates_come_at_the_asked_rates(rows):
    assert np.mean(rows.fate == Fate.DUPLICATE) == pytest.approx(0.2, abs=0.01)
    assert np.mean(rows.fate == Fate.INVALID) == pytest.approx(0.1, abs=0.01)


def test_duplicates_repeat_an_earlier_event_that_is_stored(rows):
    places = np.flatnonzero(rows.fate == Fate.DUPLICATE)
    source = rows.source[places]
    assert np.all(source < places)
    assert np.all(rows.fate[source] == Fate.FIRST)
    assert np.all(rows.has_uuid[source])
    assert np.all(rows.dropped[source] == Dropped.NO)
    assert np.array_equal(rows.team[source], rows.team[places])
    assert not np.any(rows.team[places] == QUOTA_TEAM)
    others = rows.fate != Fate.DUPLICATE
    assert np.array_equal(rows.source[others], rows.position[others])


def test_duplicates_arrive_within_the_window_and_mostly_near(rows):
    places = np.flatnonzero(rows.fate == Fate.DUPLICATE)
    gap = rows.arrival[places] - rows.arrival[rows.source[places]]
    assert gap.max() < 6.5 * DAY_MICROS
    assert gap.max() > 5 * DAY_MICROS
    assert np.median(gap) < 2 * HOUR_MICROS
    assert np.mean(gap > 6 * HOUR_MICROS) > 0.1


def test_most_duplicates_are_identical_and_some_differ_in_each_way(rows):
    places = np.flatnonzero(rows.fate == Fate.DUPLICATE)
    source = rows.source[places]
    differs = {name: getattr(rows, name)[places] != getattr(rows, name)[source] for name in ("user", "what", "moment")}
    assert 0.5 < np.mean(~(differs["user"] | differs["what"] | differs["moment"])) < 0.75
    for name, changed in differs.items():
        assert np.mean(changed) > 0.05, name
    assert np.mean(differs["moment"] & ~differs["user"] & ~differs["what"]) > 0.05


def test_arrivals_ascend_and_fill_the_days(rows):
    start = Traffic(PLAN).clock.start
    assert np.mean(np.diff(rows.arrival) >= 0) > 0.6  # neighbours change places
    assert np.all(rows.arrival[100:] > rows.arrival[:-100])
    assert np.any(np.diff(rows.arrival) < 0)
    day = (rows.arrival - start) // DAY_MICROS
    assert np.bincount(day, minlength=14).tolist() == pytest.approx([PLAN.events / 14] * 14, rel=0.01)
    hour = (rows.arrival - start) % DAY_MICROS // HOUR_MICROS
    counts = np.bincount(hour, minlength=24)
    assert counts.min() > 0
    assert counts[14] > 4 * counts[3]


def test_some_events_are_late_and_some_clocks_are_wrong(rows):
    age = rows.arrival - (rows.moment - rows.skew)
    first = rows.fate == Fate.FIRST
    assert np.mean(age[first] > 60_000_000) == pytest.approx(PLAN.late, abs=0.005)
    assert age[first].max() > DAY_MICROS
    assert age[first].min() >= 0
    assert 0.01 < np.mean(np.abs(rows.skew) > 10_000_000) < 0.2
    on_time = Traffic(Plan(events=1_000, out="out", late=0, duplicates=0)).rows(np.arange(1_000))
    assert (on_time.arrival - on_time.moment + on_time.skew).max() < 60_000_000


def test_teams_follow_zipf(rows):
    counts = np.bincount(rows.team[rows.fate == Fate.FIRST], minlength=21)[1:]
    assert counts[0] == pytest.approx(2 * counts[1], rel=0.15)
    assert counts[0] == pytest.approx(10 * counts[9], rel=0.4)
    assert counts.min() > 0


def test_sessions_are_told_from_begin_to_end():
    rows = Traffic(Plan(events=40_000, out="out", duplicates=0)).rows(np.arange(32_768))  # whole frames
    sessions = {}
    for session, kind, known in zip(rows.session.tolist(), rows.kind.tolist(), rows.known.tolist(), strict=True):
        sessions.setdefault(session, []).append((kind, known))
    assert 5 < np.mean([len(events) for events in sessions.values()]) < 20
    web = [[kind for kind, _ in events] for events in sessions.values() if events[0][0] < Kind.SERVER and len(events) > 1]
    assert all(kinds[0] == Kind.PAGEVIEW for kinds in web)
    assert all(kinds[-1] == Kind.PAGELEAVE or Kind.IDENTIFY in kinds for kinds in web)
    logins = [events for events in sessions.values() if Kind.IDENTIFY in [kind for kind, _ in events]]
    assert len(logins) > 100
    assert all(not events[0][1] and events[-1][1] for events in logins)
    assert set(rows.kind.tolist()) == set(Kind)


@pytest.mark.parametrize("events", [1, 2, 300])
@pytest.mark.parametrize("days", [1, 366])
def test_small_loads_work(events, days):
    rows = Traffic(Plan(events=events, out="out", duplicates=0.9, teams=1, days=days)).rows(np.arange(events))
    assert rows.fate[0] == Fate.FIRST
    assert np.all(rows.source >= 0)


def _registry(**values):
    traffic = Traffic(Plan(events=10_000, out="out", **values))
    quota = traffic.events_per_hour()
    return traffic.teams, quota, parse_registry(traffic.teams.registry(quota).encode(), "teams.toml")


def test_the_registry_parses_and_has_the_tokens():
    teams, _, registry = _registry(teams=30)
    assert set(registry.by_token.values()) == set(range(1, 31))
    used = teams.tokens_of(np.arange(1, 31).repeat(50), np.arange(1_500))
    assert {registry.team_id(teams.tokens[token].decode()) for token in used.tolist()} == set(range(1, 31))
    assert len(registry.by_token) == 30 + 30 // 5 + 1
    assert all(token.startswith("phc_") and len(token) == 47 for token in registry.by_token)


def test_three_teams_have_limits():
    _, quota, registry = _registry(teams=30)
    limited = {team for team, limits in registry.limits.items() if limits != registry.defaults}
    assert limited == {QUOTA_TEAM, PROBE_TEAM, RETIRED_TEAM}
    assert registry.limits[QUOTA_TEAM].events_per_hour == quota
    assert registry.limits[PROBE_TEAM].drop_distinct_ids == {"load-test", "uptime-probe"}
    (retired,) = registry.limits[RETIRED_TEAM].drop_tokens
    assert registry.team_id(retired) == RETIRED_TEAM


def test_a_quota_is_a_share_of_the_average_hour():
    rows = Traffic(Plan(events=10_000, out="out", days=2)).rows(np.arange(10_000))
    sent = np.count_nonzero((rows.team == QUOTA_TEAM) & (rows.fate == Fate.FIRST))
    assert _registry(days=2)[1] == pytest.approx(sent / 48 * 0.9, abs=1)
    assert _registry(days=2, shape="event")[1] == pytest.approx(sent * 0.9, abs=1)
    assert _registry(days=2, shape="event", quota=0.2)[1] == pytest.approx(sent * 0.2, abs=1)
    assert _registry(quota=0)[1] is None
    assert _registry(teams=1)[1] is None


def test_the_quota_of_a_large_load_is_told_from_a_sample():
    small, large = (Traffic(Plan(events=events, out="out")).events_per_hour() for events in (200_000, 20_000_000))
    assert large == pytest.approx(100 * small, rel=0.05)
