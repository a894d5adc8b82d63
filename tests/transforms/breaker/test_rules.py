"""When the breaker opens: never for one sender of rubbish, always when everything is rejected that used to be accepted."""

import random
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from transforms.breaker.rules import History, Sample, coverage, judge
from transforms.breaker.window import Seen

SOURCE = "kafka://cluster/topic/0"
SHARE = 0.5


def batch(accepted: dict[int, int], senders: dict[int | bytes, int], unknown: int = 0, seconds: float = 10, source: str = SOURCE) -> Seen:
    """Return a batch: events that were accepted, rejected ones by sender, and rejected ones whose sender cannot be told."""
    rejected = sum(senders.values()) + unknown
    events = sum(accepted.values()) + rejected
    reasons = Counter({"unknown_token": rejected})
    return Seen(source, 0.0, 0, int(seconds * 1e6), events, rejected, Counter(accepted), Counter(senders), reasons)


def zipf(teams: int, rate: float) -> dict[int, float]:
    total = sum(1 / place for place in range(1, teams + 1))
    return {place: rate / place / total for place in range(1, teams + 1)}


def opens(batches: list[Seen], rates: dict[int, float], share: float = SHARE) -> str:
    return judge(reversed(batches), lambda: {SOURCE: rates}, share)


def traffic(rates: dict[int, float], events: int, seed: int) -> dict[int, int]:
    """Return events of the teams, drawn at random."""
    return dict(Counter(random.Random(seed).choices(list(rates), list(rates.values()), k=events)))


# Histories of 3 to 40 teams, of any sizes, and 50 events a second.
weights = st.lists(st.integers(1, 1_000), min_size=3, max_size=40)
seeds = st.integers(0, 2**32)


def rates_of(found: list[int]) -> dict[int, float]:
    return {team: 50 * weight / sum(found) for team, weight in enumerate(found, 1)}


@given(weights, st.integers(200, 20_000), st.floats(0, 100), st.sampled_from([7, b"phc_unknown"]), seeds)
def test_one_sender_who_can_be_told_never_opens_it(found: list[int], rubbish: int, seconds: float, sender: int | bytes, seed: int) -> None:
    """Not even if nobody else is there at all."""
    others = traffic(rates_of(found), int(50 * seconds), seed)
    others.pop(7, None)  # the one who sends rubbish now
    assert not opens([batch(others, {sender: rubbish}, seconds=seconds)], rates_of(found))
    assert not opens([batch({}, {sender: rubbish}, seconds=seconds)], rates_of(found))


@given(weights, st.integers(0, 20_000), st.integers(0, 20_000), st.floats(0, 60), seeds)
def test_a_flood_without_a_sender_never_opens_it_while_others_are_accepted(
    found: list[int], unreadable: int, tokens: int, seconds: float, seed: int
) -> None:
    """Unreadable bodies, and as many tokens as events; also if a batch holds nothing else, in the little time that it takes."""
    rates = rates_of(found)
    others = traffic(rates, int(50 * seconds), seed)
    flood: dict[int | bytes, int] = {str(number).encode(): 1 for number in range(tokens)}
    assert not opens([batch(others, flood, unreadable, seconds)], rates)
    assert not opens([batch({}, flood, unreadable, seconds=1.0)], rates)


@given(weights, st.integers(0, 7), seeds)
def test_nor_at_night(found: list[int], hours: int, seed: int) -> None:
    """A seventh of the usual traffic comes, and a flood."""
    rates = rates_of(found)
    seconds = 20 + 10 * hours
    assert not opens([batch(traffic(rates, int(50 * seconds / 7), seed), {}, 50_000, seconds)], rates)


def test_nor_at_night_with_many_small_teams() -> None:
    """An eighth of the usual traffic is of few of a thousand equal teams: that is less than half of the usual ones, and all is well."""
    rates = dict.fromkeys(range(1_000), 0.05)
    assert not opens([batch(traffic(rates, 125, 1), {}, 50_000, seconds=20)], rates)


@given(weights, st.integers(1, 6), st.booleans(), st.floats(0.05, 0.95))
def test_everything_rejected_always_opens_it(found: list[int], size: int, is_readable: bool, share: float) -> None:
    """Whatever the teams' sizes, once there are enough events of others than the largest."""
    rates = rates_of(found)
    rejected: dict[int | bytes, int] = {str(team).encode(): max(1, int(rate * 60 * size)) for team, rate in rates.items()}
    largest = max(rejected.values())
    assume(sum(rejected.values()) - largest >= 200)
    one = batch({}, rejected if is_readable else {}, 0 if is_readable else sum(rejected.values()), seconds=60 * size)
    assert "0 of " in opens([one], rates, share)


def test_a_first_batch_of_a_few_hundred_events_is_enough() -> None:
    """A fresh process leaks nothing."""
    rates = zipf(40, rate=50)
    rejected: dict[int | bytes, int] = {str(team).encode(): count for team, count in traffic(rates, 200, seed=1).items()}
    assert opens([batch({}, rejected, seconds=4)], rates) == "100% of the last 200 events rejected (unknown_token), 0 of 40 teams accepted"


@pytest.mark.parametrize("teams", [3, 40, 1_000])
@pytest.mark.parametrize("sort", ["zipf", "equal"])
@pytest.mark.parametrize("seed", range(5))
def test_a_registry_without_most_teams_opens_it(teams: int, sort: str, seed: int) -> None:
    rates = zipf(teams, 200) if sort == "zipf" else dict.fromkeys(range(1, teams + 1), 200 / teams)
    sent = traffic(rates, 2_000, seed)
    left = {teams, teams // 2} if teams > 3 else set()
    accepted = {team: count for team, count in sent.items() if team in left}
    rejected: dict[int | bytes, int] = {str(team).encode(): count for team, count in sent.items() if team not in left}
    assert opens([batch(accepted, rejected, seconds=10)], rates)


def test_an_outbreak_after_a_minute_of_health_shows_at_once() -> None:
    rates = zipf(40, rate=50)
    health = [batch(traffic(rates, 100, seed), {}, seconds=2) for seed in range(30)]
    broken = [batch({}, {str(team).encode(): count for team, count in traffic(rates, 100, seed).items()}, seconds=2) for seed in range(2)]
    assert not opens(health, rates)
    assert not opens(health + broken[:1], rates)
    late = [Seen(*one[:2], 2_000_000 * place, 2_000_000 * (place + 1), *one[4:]) for place, one in enumerate(health + broken)]
    assert opens(late, rates)


def test_what_came_last_counts() -> None:
    """When the cause is gone, what was seen before does not hold it open."""
    rates = zipf(40, rate=50)
    assert not opens([batch({}, {}, 5_000, seconds=100), batch({1: 300}, {}, seconds=5)], rates)


def test_small_evidence_adds_up() -> None:
    """A trickle: batches of ten events, of which nine are rejected."""
    rates = zipf(40, rate=1)
    batches = []
    for place in range(60):
        sent = traffic(rates, 10, place)
        rejected: dict[int | bytes, int] = {str(team).encode(): count for team, count in sent.items() if team != 1}
        one = batch({1: sent.get(1, 0)}, rejected)
        batches.append(Seen(*one[:2], 10_000_000 * place, 10_000_000 * (place + 1), *one[4:]))
    verdicts = [bool(opens(batches[:number], rates)) for number in range(60)]
    assert not any(verdicts[:20]), "200 events are the least"
    assert verdicts[-1]


@pytest.mark.parametrize("rates", [{}, {1: 50.0}, {1: 50.0, 2: 20.0}], ids=["fresh", "one team", "two teams"])
def test_without_a_history_of_others_there_is_no_evidence(rates: dict[int, float]) -> None:
    assert not opens([batch({}, {str(team).encode(): 1 for team in range(5_000)})], rates)


def test_the_history_is_not_asked_for_on_the_good_path() -> None:
    def history() -> History:
        raise AssertionError("asked")

    assert not judge([batch({1: 300}, {2: 299}, 100)], history, SHARE)
    assert not judge([batch({1: 10}, {}, 180)], history, SHARE), "too few"
    with pytest.raises(AssertionError, match="asked"):
        judge([batch({1: 10}, {}, 190)], history, SHARE)


def test_two_partitions_add_up() -> None:
    other = "kafka://cluster/topic/1"
    rates = zipf(10, rate=10)
    halves = [batch({}, {}, 150, 15, SOURCE), batch({}, {}, 150, 15, other)]
    assert judge(halves, lambda: {SOURCE: rates, other: rates}, SHARE)
    assert not judge(halves, lambda: {SOURCE: rates}, SHARE), "nobody has sent anything there before"
    sample = Sample()
    for half in halves:
        sample.add(half)
    assert sum(sample.expected({SOURCE: rates, other: rates}).values()) == pytest.approx(300)


def test_coverage_compares_like_with_like() -> None:
    """Few events are of few teams: of a thousand equal ones, two hundred events cover a fifth, and that is as it should be."""
    expected = dict.fromkeys(range(1_000), 0.2)
    found = coverage(traffic(dict.fromkeys(expected, 1.0), 200, 1), expected, 10_000)
    assert found is not None
    assert 0.1 < found.usual < 0.25
    assert found.found == pytest.approx(found.usual, rel=0.35)


def test_one_missing_team_is_left_out_however_large() -> None:
    expected = {1: 100_000.0, 2: 200.0, 3: 100.0}
    found = coverage({2: 10, 3: 10}, expected, 100_000)
    assert found is not None
    assert found.found == 1.0
