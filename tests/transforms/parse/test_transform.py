"""`ParseEvents` with a breaker, on Beam's local runner: the bundle fails before anything of it can be stored."""

from collections.abc import Iterator

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from schemas.event import Batch
from schemas.message import Messages
from schemas.teams import Registry
from tests.transforms.breaker.test_history import NOW, receipt
from tests.transforms.parse.helpers import message
from transforms import coders  # noqa: F401
from transforms.breaker import BreakerAt
from transforms.io.clickhouse import shared
from transforms.metrics import Metric, alarms, progress
from transforms.parse import ParseEvents, rules
from transforms.parse.transform import _ParseEventsFn
from transforms.runs import new_run

SOURCE = "kafka://cluster/topic/0"
TEAMS = {f"phc_{team}": team for team in range(1, 11)}
START = int(NOW.timestamp() * 1e6)
MESSAGES = Messages(
    1,
    SOURCE,
    [message(token=token, uuid=None) for token in TEAMS for _ in range(40)],
    list(range(400)),
    START,
    [START + 100_000 * n for n in range(400)],
)


class Teams:
    def __init__(self, by_token: dict[str, int]) -> None:
        self._by_token = by_token

    def current(self) -> Registry:
        return Registry(by_token=self._by_token, limits={})


@pytest.fixture
def breaker(sink: str) -> Iterator[BreakerAt]:
    """Return the breaker of a stream that had a hundred seconds of healthy traffic, of ten events a second."""
    from datetime import timedelta

    client = shared(sink)
    for age in (100, 0):
        receipt(client, age, SOURCE, timedelta(seconds=age), dict.fromkeys(TEAMS.values(), 50))
    yield BreakerAt(sink, str(new_run(START)), 0.5)
    alarms.clear()


_kept: list[Batch] = []


def _keep(batches: list[Batch]) -> None:
    _kept[:] = batches


def parse(breaker: BreakerAt | None, teams: dict[str, int]) -> tuple[int, int]:
    """Return how many events and letters come out."""
    _kept.clear()
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        parsed = pipeline | beam.Create([MESSAGES]) | ParseEvents(Teams(teams), breaker)
        assert_that(parsed.batches, _keep)
    return sum(len(batch.events) for batch in _kept), sum(len(batch.letters) for batch in _kept)


def test_a_registry_that_lost_its_teams_fails_the_bundle(breaker: BreakerAt) -> None:
    before = progress[Metric.EVENTS_RECEIVED], progress[Metric.BREAKERS_OPENED]
    with pytest.raises(RuntimeError, match=r"breaker open: 100% of the last 400 events rejected \(unknown_token\), 0 of 10 teams"):
        parse(breaker, {})
    assert _kept == []
    assert list(alarms) == ["kafka://cluster/topic"]
    assert (progress[Metric.EVENTS_RECEIVED], progress[Metric.BREAKERS_OPENED] > before[1]) == (before[0], True)


def test_mended_it_goes_through_in_the_same_process(breaker: BreakerAt) -> None:
    with pytest.raises(RuntimeError, match="breaker open"):
        parse(breaker, {})
    assert parse(breaker, TEAMS) == (400, 0)


def test_without_a_breaker_all_are_letters(breaker: BreakerAt) -> None:
    assert parse(None, {}) == (0, 400)


def test_a_worker_without_the_compiled_parser_says_so(caplog: pytest.LogCaptureFixture) -> None:
    _ParseEventsFn(Teams(TEAMS), None).setup()
    assert ("No compiled parser" in caplog.text) is not rules.COMPILED
