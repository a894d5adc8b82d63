"""`EnforceLimits` on Beam's local runner, with the table of a real ClickHouse."""

import pickle
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that

from schemas.event import Batch, Event
from schemas.teams import Registry, TeamLimits
from transforms import coders  # noqa: F401
from transforms.io.clickhouse import shared
from transforms.io.registry import OpenRegistry
from transforms.limits import EnforceLimits
from transforms.sink.rows import event_rows

NOON = 498_612 * 3_600_000_000
runs = (f"01935b1e-0000-7000-8000-{number:012}" for number in range(1_000_000))


@dataclass(frozen=True)
class Quota:
    """A registry in which team 1 may send `limit` events an hour, and its distinct id `probe` none."""

    limit: int

    def current(self) -> Registry:
        return Registry(by_token={}, limits={1: TeamLimits(self.limit, drop_distinct_ids=frozenset({"probe"}))})


def events(first: int, count: int, team: int = 1, who: str = "d") -> list[Event]:
    return [Event(team, n.to_bytes(16), "e", who, NOON, NOON, b"{}", "", False, 0, 7, n, 0) for n in range(first, first + count)]


_kept: list[Batch] = []


def _keep(batches: list[Batch]) -> None:
    _kept[:] = batches


def enforce(sink: str, run: str, quota: int, batches: Sequence[Batch], *options: str) -> list[Batch]:
    """Return what the step makes of batches."""
    with beam.Pipeline(FnApiRunner(), PipelineOptions(list(options))) as pipeline:
        limited = pipeline | beam.Create(batches) | EnforceLimits(Quota(quota), sink, run)
        assert_that(limited, _keep)
    return list(_kept)


def passed(batches: Sequence[Batch]) -> Counter[int]:
    return Counter(event.team_id for batch in batches for event in batch.events if not event.limited)


BATCHES = [Batch([*events(10 * part, 10), *events(1000 + 10 * part, 10, 2), *events(2000 + part, 1, who="probe")]) for part in range(8)]


@pytest.mark.parametrize("options", [(), ("--direct_runner_bundle_repeat=1",)])
def test_the_quota_holds_over_all_batches(sink: str, options: tuple[str, ...]) -> None:
    found = enforce(sink, next(runs), 35, BATCHES, *options)
    assert passed(found) == {1: 35, 2: 80}
    assert Counter(event.limited for batch in found for event in batch.events) == {"": 115, "events_per_hour": 45, "drop_distinct_ids": 8}
    assert sum(len(batch.warnings) for batch in found) == 1


def test_a_new_run_counts_what_is_stored(sink: str) -> None:
    shared(sink).insert("events", event_rows(events(0, 30)))
    assert passed(enforce(sink, next(runs), 35, BATCHES)) == {1: 5, 2: 80}


def test_a_run_has_one_account_and_another_has_its_own(sink: str) -> None:
    """Nothing is stored here: only the process knows what it let through."""
    one, other = next(runs), next(runs)
    assert passed(enforce(sink, one, 35, BATCHES[:2]))[1] == 20
    assert passed(enforce(sink, one, 35, BATCHES[2:]))[1] == 15
    assert passed(enforce(sink, other, 35, [Batch(events(100, 50))]))[1] == 35


def test_the_step_is_plain_data(sink: str) -> None:
    step = EnforceLimits(OpenRegistry(), sink, next(runs), 3.0)
    assert pickle.loads(pickle.dumps(step)).refresh == 3.0


@pytest.mark.parametrize("refresh", [0.0, -1.0])
def test_a_refresh_that_is_not_positive_is_refused(refresh: float) -> None:
    with pytest.raises(ValueError, match=r"refresh is -?\d\.0 s, but must be positive"):
        EnforceLimits(OpenRegistry(), "chdb:x", next(runs), refresh)
