"""Keyed steps as a chain of calls: what goes through, whose turn it is, and what a bundle that fails leaves behind."""

import threading
from collections.abc import Iterator
from uuid import uuid4

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from schemas.event import Batch, Event
from schemas.outcomes import Report
from transforms.one_process import InOneProcess, Keyed, _ChainFn
from transforms.state.shard_log import Head


def batch(*teams: int) -> Batch:
    return Batch([Event(team, b"", "", "", 0, 0, b"", "", False, 0, 0, 0, 0) for team in teams])


def by_team(whole: Batch) -> Iterator[tuple[int, Batch]]:
    for team in sorted({event.team_id for event in whole.events}):
        yield team, Batch([event for event in whole.events if event.team_id == team])


class _Count(beam.DoFn):
    """Numbers the batches of each key in `index`."""

    def process(self, element: tuple[int, Batch], head: Head) -> Iterator[Batch]:
        _, part = element
        number = int(head.read() or b"0") + 1
        head.write(b"%d" % number)
        for event in part.events:
            event.index = number
        yield part


class _Report(beam.DoFn):
    """Reports the number of each event as a receipt; those above 900 at the end of the bundle."""

    def start_bundle(self) -> None:
        self._late: list[int] = []

    def process(self, element: tuple[int, Batch], head: Head) -> Iterator[Report]:
        for event in element[1].events:
            if event.team_id == 666:
                raise ValueError("the step failed")
            if event.team_id > 900:
                self._late.append(event.index)
            else:
                yield Report(event.index)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if 999 in self._late:
            raise ValueError("the end failed")
        yield from (GlobalWindows.windowed_value(Report(number)) for number in self._late)


class _Step:
    def __init__(self, step: type[beam.DoFn]) -> None:
        self._step = step

    def keyed(self) -> Keyed:
        return Keyed(by_team, self._step())


STEPS = [_Step(_Count), _Step(_Report)]


def chain(run: str) -> _ChainFn:
    found = _ChainFn([step.keyed() for step in STEPS], run)
    found.setup()
    return found


def bundle(fn: _ChainFn, *batches: Batch) -> list[int]:
    fn.start_bundle()
    now = [report.receipt for each in batches for report in fn.process(each)]
    return now + [late.value.receipt for late in fn.finish_bundle()]


def test_each_key_has_a_cell_of_its_own_that_outlives_the_bundle() -> None:
    fn = chain(str(uuid4()))
    assert bundle(fn, batch(1, 2, 1), batch(2)) == [1, 1, 1, 2]
    assert bundle(fn, batch(1, 3)) == [2, 1]


def test_runs_do_not_share_cells() -> None:
    assert bundle(chain(str(uuid4())), batch(1)) == bundle(chain(str(uuid4())), batch(1)) == [1]


def test_what_the_last_step_says_at_the_end_is_said() -> None:
    assert bundle(chain(str(uuid4())), batch(901), batch(1)) == [1, 1]


@pytest.mark.parametrize("failing", ["a step", "what reads from it"])
def test_a_bundle_that_fails_leaves_nothing_behind_and_gives_up_its_turn(failing: str) -> None:
    run = str(uuid4())
    fn = chain(run)
    assert bundle(fn, batch(1)) == [1]
    if failing == "a step":
        with pytest.raises(ValueError, match="the step failed"):
            bundle(fn, batch(1, 666))
    else:
        outputs = fn.process(batch(1))
        next(outputs)
        outputs.close()
    assert bundle(chain(run), batch(1)) == [1], "the cells are new"


def test_an_end_that_fails_leaves_nothing_behind() -> None:
    run = str(uuid4())
    fn = chain(run)
    assert bundle(fn, batch(901)) == [1]
    fn.start_bundle()
    assert list(fn.process(batch(901))) == []
    fn._steps[-1].step._late.append(999)
    with pytest.raises(ValueError, match="the end failed"):
        list(fn.finish_bundle())
    assert bundle(fn, batch(901)) == [1]


def test_a_bundle_that_another_step_has_failed_is_torn_down() -> None:
    """The runner tells a DoFn nothing of a failure elsewhere but that it is done with it."""
    run = str(uuid4())
    fn = chain(run)
    fn.start_bundle()
    assert [report.receipt for report in fn.process(batch(1))] == [1]
    fn.teardown()
    assert bundle(chain(run), batch(1)) == [1]


def test_bundles_take_turns() -> None:
    run = str(uuid4())
    first, second = chain(run), chain(run)
    first.start_bundle()
    assert [report.receipt for report in first.process(batch(1))] == [1]
    found: list[int] = []
    other = threading.Thread(target=lambda: found.extend(bundle(second, batch(1))))
    other.start()
    assert [report.receipt for report in first.process(batch(1))] == [2]
    assert found == []
    list(first.finish_bundle())
    other.join(10)
    assert found == [3]


def test_a_bundle_without_a_batch_waits_for_nobody() -> None:
    run = str(uuid4())
    first, second = chain(run), chain(run)
    first.start_bundle()
    list(first.process(batch(1)))
    assert bundle(second) == []
    first.teardown()


def test_beam_runs_it() -> None:
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        reports = pipeline | beam.Create([batch(1, 901)]) | InOneProcess(STEPS, str(uuid4()))
        assert_that(reports | beam.Map(lambda report: report.receipt), equal_to([1, 1]))


def test_beam_tears_down_what_failed() -> None:
    run = str(uuid4())

    def fail(report: Report) -> None:
        raise ValueError("behind it")

    with pytest.raises(ValueError, match="behind it"), beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        pipeline | beam.Create([batch(1)]) | InOneProcess(STEPS, run) | beam.Map(fail)
    assert bundle(chain(run), batch(1)) == [1]
