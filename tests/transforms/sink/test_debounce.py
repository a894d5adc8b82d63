"""Of each team, type and key one warning an hour; the same again for a bundle that is run again; memory is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.event import IngestionWarning
from transforms.sink import debounce as module
from transforms.sink.debounce import HOUR, Debounce


def warning(team: int = 1, kind: str = "invalid_alias", key: str = "k", arrival: int = 0, receipt: int = 1) -> IngestionWarning:
    return IngestionWarning(team, kind, key, "{}", 1, arrival, receipt, 0)


def test_the_first_of_an_hour_goes_through() -> None:
    debounce = Debounce()
    assert debounce.firsts([warning(arrival=5)]) == [warning(arrival=5)]
    assert debounce.firsts([warning(arrival=6, receipt=2), warning(arrival=HOUR - 1, receipt=3)]) == []
    assert debounce.firsts([warning(arrival=HOUR, receipt=4)]) == [warning(arrival=HOUR, receipt=4)]
    assert debounce.firsts([warning(arrival=7, receipt=5)]) == [], "late ones too"


def test_teams_types_and_keys_are_apart() -> None:
    others = [warning(), warning(team=2), warning(kind="event_name_too_long"), warning(key="other")]
    assert Debounce().firsts(others) == others


warnings = st.builds(
    warning,
    team=st.integers(1, 2),
    key=st.sampled_from("ab"),
    arrival=st.integers(0, 2 * HOUR),
    receipt=st.integers(1, 3),
)


@given(st.lists(st.lists(warnings, max_size=5), max_size=8))
def test_bundles_that_are_run_again_give_the_same(bundles: list[list[IngestionWarning]]) -> None:
    once, again = Debounce(), Debounce()
    stored = [once.firsts(bundle) for bundle in bundles]
    for bundle, expected in zip(bundles, stored, strict=True):
        assert again.firsts(bundle) == again.firsts(bundle) == expected
    for bundle in bundles:
        assert again.firsts(bundle) == once.firsts(bundle)
    subjects = {(one.team_id, one.key, one.arrival // HOUR) for bundle in bundles for one in bundle}
    assert {(one.team_id, one.key, one.arrival // HOUR) for bundle in stored for one in bundle} == subjects, "everybody is told"
    rows = {(one.team_id, one.key, one.arrival, one.receipt) for bundle in stored for one in bundle}
    assert len(rows) == len(subjects), "and once: the table merges rows that are alike"


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 10)
    debounce = Debounce()
    for number in range(30):
        assert debounce.firsts([warning(key=str(number))])
    assert len(debounce._first) == 10
    assert debounce.firsts([warning(key="29", receipt=2)]) == []
    assert debounce.firsts([warning(key="0", receipt=2)]), "forgotten, and told again"
