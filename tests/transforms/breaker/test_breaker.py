"""The process's breaker: what it remembers of streams, and when it asks the tables."""

from collections import Counter

import pytest

from schemas.errors import BreakerOpen
from tests.transforms.breaker.test_rules import batch, zipf
from transforms.breaker import Breaker, BreakerAt
from transforms.breaker.breaker import REFRESH_SECONDS
from transforms.breaker.rules import History
from transforms.breaker.window import Seen

RATES = zipf(10, rate=50)
BROKEN = batch({}, {}, 500)
GOOD = batch({team: int(rate * 10) for team, rate in RATES.items()}, {})


class Tables:
    """Histories, and how often they were read."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.rates = RATES

    def __call__(self, stream: str) -> History:
        self.read.append(stream)
        return {f"{stream}/0": self.rates}


def at(seen: Seen, now: float, topic: str = "topic") -> Seen:
    return seen._replace(at=now, source=f"kafka://cluster/{topic}/0")


def test_it_opens_and_says_why() -> None:
    breaker = Breaker(Tables(), 0.5)
    with pytest.raises(BreakerOpen) as caught:
        breaker.check(at(BROKEN, 0))
    assert caught.value.stream == "kafka://cluster/topic"
    assert str(caught.value) == (
        "breaker open: 100% of the last 500 events rejected (unknown_token), 0 of 10 teams accepted; see docs/operations.md"
    )


def test_the_batch_at_which_it_opened_is_judged_anew_when_it_comes_again() -> None:
    """Runners run a failed bundle again in the same process; when the cause is gone, nothing holds it back."""
    breaker = Breaker(Tables(), 0.5)
    for now in range(20):
        with pytest.raises(BreakerOpen):
            breaker.check(at(BROKEN, now))
    breaker.check(at(batch({1: 100}, {}, 110, seconds=1), 21))  # which alone is no evidence
    breaker.check(at(GOOD, 22))


def test_the_tables_are_asked_when_it_looks_suspicious_and_then_every_ten_minutes() -> None:
    tables = Tables()
    breaker = Breaker(tables, 0.5)
    for now in range(100):
        breaker.check(at(GOOD, now))
    assert tables.read == []
    tables.rates = {}
    for now in (1_000, 1_001, 1_000 + REFRESH_SECONDS):
        breaker.check(at(BROKEN, now))
    assert tables.read == ["kafka://cluster/topic"]
    tables.rates = RATES
    with pytest.raises(BreakerOpen):
        breaker.check(at(BROKEN, 1_001 + REFRESH_SECONDS))


def test_streams_are_judged_apart() -> None:
    breaker = Breaker(Tables(), 0.5)
    for now in range(10):
        breaker.check(at(GOOD, now, "large"))
    with pytest.raises(BreakerOpen):
        breaker.check(at(BROKEN, 10, "small"))
    breaker.check(at(GOOD, 11, "large"))


TEN: dict[int | bytes, int] = {str(team).encode(): 1 for team in range(10)}


def test_a_trickle_waits_where_it_was_open_before() -> None:
    """Ten events are no evidence, and where there was some before, no reason to begin anew."""
    with pytest.raises(BreakerOpen, match=r"100% of the last 10 events rejected \(unknown_token\), as before"):
        Breaker(Tables(), 0.5, was_open=True).check(at(batch({}, TEN), 0))
    Breaker(Tables(), 0.5).check(at(batch({}, TEN), 0))
    Breaker(Tables(), 0.5, was_open=True).check(at(batch({}, {7: 10}), 0))
    Breaker(Tables(), 0.5, was_open=True).check(at(batch({1: 30}, TEN), 0))


def test_where_it_was_open_before_two_hundred_events_are_judged_as_ever() -> None:
    """Rubbish that waited until it is enough goes through: nobody else is missing."""
    breaker = Breaker(Tables(), 0.5, was_open=True)
    breaker.check(at(batch({}, {}, 200, seconds=1), 0))
    breaker.check(at(batch({}, TEN, seconds=1), 1))
    with pytest.raises(BreakerOpen):
        Breaker(Tables(), 0.5, was_open=True).check(at(BROKEN, 0))


def test_reasons_are_named_most_first() -> None:
    seen = at(BROKEN, 0)._replace(reasons=Counter(missing_token=300, malformed_body=150, invalid_token=50))
    with pytest.raises(BreakerOpen, match=r"\(missing_token, malformed_body\)"):
        Breaker(Tables(), 0.5).check(seen)


def test_a_process_has_one_breaker_of_a_run() -> None:
    assert BreakerAt("chdb:x", "run", 0.5).breaker() is BreakerAt("chdb:x", "run", 0.5).breaker()
    assert BreakerAt("chdb:x", "run", 0.5).breaker() is not BreakerAt("chdb:x", "another", 0.5).breaker()


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_a_share_is_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match=f"share is {share}, but must be"):
        BreakerAt("chdb:x", "run", share)
