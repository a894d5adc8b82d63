"""B10: rubbish of unknown senders does not open the breaker while known teams are accepted; a registry that lost teams still does."""

from collections import Counter
from collections.abc import Callable, Iterable
from random import Random

import pytest

from schemas.errors import BreakerOpen
from transforms.breaker.breaker import Breaker
from transforms.breaker.window import Seen, Sender

SOURCE = "kafka://cluster/topic/0"
SECONDS, STEP = 120, 2
Rubbish = Callable[[Random, int], tuple[dict[Sender, int], int]]  # of a step: events by sender, and those of nobody who can be told


def poisson(chance: Random, mean: float) -> int:
    return sum(chance.random() < mean / 100 for _ in range(100))


def history(teams: int, rate: float, sort: str) -> dict[int, float]:
    weights = {team: 1 / team if sort == "zipf" else 1.0 for team in range(1, teams + 1)}
    return {team: rate * weight / sum(weights.values()) for team, weight in weights.items()}


def opens(rates: dict[int, float], awake: Iterable[int], lost: Iterable[int], rubbish: Rubbish, seed: int, share: float = 1.0) -> bool:
    """Return whether the breaker opens within three minutes.

    Args:
        rates: events a second of each team, by history.
        awake: the teams that send, with a share of their rate.
        lost: those of them that the registry does not know any more.
    """
    chance, gone, present = Random(seed), set(lost), list(awake)
    breaker = Breaker(lambda stream: {SOURCE: rates}, 0.5)
    for start in range(0, SECONDS, STEP):
        sent = {team: poisson(chance, rates[team] * STEP * share) for team in present}
        senders, nobody = rubbish(chance, STEP)
        bad: Counter[Sender] = Counter({str(team).encode(): count for team, count in sent.items() if team in gone and count})
        bad.update(senders)
        good = Counter({team: count for team, count in sent.items() if team not in gone and count})
        rejected = bad.total() + nobody
        reasons = Counter({"unknown_token": rejected})
        arrivals = start * 1_000_000, (start + STEP) * 1_000_000
        try:
            breaker.check(Seen(SOURCE, float(start), *arrivals, good.total() + rejected, rejected, good, bad, reasons))
        except BreakerOpen:
            return True
    return False


def random_tokens(rate: int, events: int = 1) -> Rubbish:
    """Return what sends so many events a second, each few of a token of their own."""
    return lambda chance, seconds: ({f"phc_{chance.getrandbits(64)}".encode(): events for _ in range(rate * seconds // events)}, 0)


def unreadable(rate: int) -> Rubbish:
    return lambda chance, seconds: ({}, rate * seconds)


def nothing(chance: Random, seconds: int) -> tuple[dict[Sender, int], int]:
    return {}, 0


@pytest.mark.parametrize("sort", ["equal", "zipf"])
@pytest.mark.parametrize("awake", [2, 3, 5, 9])
@pytest.mark.parametrize(
    "rubbish",
    [random_tokens(20), random_tokens(50), random_tokens(300), random_tokens(50, events=5), unreadable(50), unreadable(300)],
    ids=["20 a second", "50 a second", "300 a second", "five of a token", "unreadable", "much unreadable"],
)
def test_rubbish_while_most_teams_are_asleep(rubbish: Rubbish, awake: int, sort: str) -> None:
    """Those who are awake are the smallest: the larger ones are missing."""
    rates = history(10, 20.0, sort)
    for seed in range(3):
        assert not opens(rates, sorted(rates)[-awake:] if sort == "equal" else sorted(rates)[:awake], [], rubbish, seed)


@pytest.mark.parametrize("awake", [5, 30])
def test_rubbish_while_most_of_a_hundred_teams_are_asleep(awake: int) -> None:
    rates = history(100, 50.0, "equal")
    assert not opens(rates, range(1, awake + 1), [], random_tokens(50), seed=1)


@pytest.mark.parametrize("share", [1.0, 1 / 7], ids=["by day", "at night"])
@pytest.mark.parametrize("sort", ["equal", "zipf"])
@pytest.mark.parametrize(
    "rubbish", [nothing, random_tokens(50), random_tokens(300), unreadable(50)], ids=["alone", "tokens", "many", "bodies"]
)
def test_a_registry_that_lost_teams_opens_it_also_beside_rubbish(rubbish: Rubbish, sort: str, share: float) -> None:
    rates = history(10, 20.0, sort)
    kept = {1, 5, 9} if sort == "equal" else {3, 6, 9}
    for seed in range(3):
        assert opens(rates, rates, set(rates) - kept, rubbish, seed, share)


def test_a_parser_that_refuses_all_opens_it() -> None:
    assert opens(history(10, 20.0, "equal"), [], [], unreadable(20), seed=1)
