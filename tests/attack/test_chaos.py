"""Three campaigns of `make chaos`, each of which has the same plan each time: nothing is lost, nothing doubled (tests/attack/chaos.py)."""

from pathlib import Path

import pytest

from tests.attack.chaos import EMBEDDED, ON_SERVER, campaign, plan, wrong
from tests.attack.oracle import Oracle

SECONDS = 30  # of faults: to start, to heal and to count takes as long again
RATE = 80.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sink", "seed"), [("server", 2), ("server", 7), ("embedded", 20)])
def test_a_campaign(sink: str, seed: int, tmp_path: Path) -> None:
    found = campaign(sink, tmp_path, seed, SECONDS, RATE)
    print(found)
    assert wrong(found) == {}
    assert found["ids"] > 500
    assert found["looks"] > 2


def test_a_seed_is_a_plan() -> None:
    assert plan(1, 60, ON_SERVER, 3.5) == plan(1, 60, ON_SERVER, 3.5) != plan(2, 60, ON_SERVER, 3.5)
    assert {what for _, what, _ in plan(1, 600, ON_SERVER, 3.5)} == set(ON_SERVER)
    assert {what for _, what, _ in plan(1, 600, EMBEDDED, 3.5)} == set(EMBEDDED)


def test_the_oracle_says_the_same_for_a_seed() -> None:
    def said(seed: int) -> tuple[object, ...]:
        oracle = Oracle(seed)
        for _ in range(3_000):
            oracle.message()
        return oracle.expected, oracle.late, oracle.rubbish, oracle.merged, oracle.latest, oracle.duplicates

    first = said(1)
    assert first == said(1) != said(2)
    assert all(first), "it has some of each"
