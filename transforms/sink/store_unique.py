"""`StoreUnique`: batches in, rows in ClickHouse, and out what became of every event once it is durable."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import apache_beam as beam
import msgspec
from apache_beam.transforms.userstate import AccumulatingRuntimeState, ReadModifyWriteRuntimeState
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from schemas.event import Batch
from schemas.outcomes import Report
from transforms.dedupe.filter import DuplicateFilter, check_shards
from transforms.dedupe.shards import split
from transforms.dedupe.state import HEAD, LOGS
from transforms.io.clickhouse import shared
from transforms.io.clickhouse.clock import ServerClock
from transforms.metrics import Metric, count, count_outcomes, timed
from transforms.one_process import Keyed
from transforms.process import once_a_process
from transforms.sink.debounce import Debounce
from transforms.sink.event_ids import EventIds
from transforms.sink.stored import StoredEvents
from transforms.sink.writer import Writer


@dataclass
class StoreUnique(beam.PTransform):
    """A PTransform which stores each event once, and reports every outcome when it is durable.

    `PCollection[Batch]` -> `PCollection[Report]`. Duplicates are found and rows are written in one bundle: as separate steps, a duplicate
    of an event that is not stored yet could be acknowledged, and a crash would then lose both. Dead letters and warnings
    are written before the events that they came with. A bundle that is run again finds what it stored
    before in `event_ids`, and reports it as stored, once.

    Args:
        sink: the ClickHouse URL.
        run: the run's UUIDv7.
        shards: the number of shards, fixed for the life of a job; it divides 256.
        log: whether shards also keep their ids in the runner's state; without it they are read back from `event_ids` alone.
        max_rows, max_bytes: size of an insert.
    """

    sink: str
    run: str
    shards: int = 16
    log: bool = True
    max_rows: int = 64_000
    max_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        super().__init__()
        check_shards(self.shards)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Wire the step."""
        keyed = self.keyed()
        shards = batches | "SplitByShard" >> beam.FlatMap(keyed.split).with_output_types(tuple[int, Batch])
        return shards | "StoreUnique" >> beam.ParDo(keyed.step).with_output_types(Report)

    def keyed(self) -> Keyed:
        """Return the step as `InOneProcess` takes it."""
        return Keyed(partial(split, shards=self.shards), _StoreUniqueFn(self))


@once_a_process()
def _filter(sink: str, run: str, shards: int, log: bool) -> DuplicateFilter:
    """Return the process's filter of a job: DoFn instances come and go."""
    return DuplicateFilter(shards, EventIds(shared(sink), UUID(run), _tables(sink).verify_if_due), log)


@once_a_process()
def _tables(sink: str) -> StoredEvents:
    """Return what the process inserts by."""
    return StoredEvents(shared(sink))


@once_a_process()
def _clock(sink: str) -> ServerClock:
    """Return the process's view of ClickHouse's clock."""
    return ServerClock(shared(sink))


@once_a_process()
def _debounce(sink: str, run: str) -> Debounce:  # noqa: ARG001 - the cache's key
    """Return the process's memory of what a run's customers were warned about."""
    return Debounce()


class _StoreUniqueFn(beam.DoFn):
    def __init__(self, step: StoreUnique) -> None:
        self._sink, self._run = step.sink, step.run
        self._filter_options = (step.sink, step.run, step.shards, step.log)
        self._block_size = (step.max_rows, step.max_bytes)

    def setup(self) -> None:
        self._filter = _filter(*self._filter_options)
        self._debounce = _debounce(self._sink, self._run)
        self._writer = Writer(_tables(self._sink), *self._block_size)

    def start_bundle(self) -> None:
        self._writer.discard()
        self._filter.evict(self)  # of a bundle that failed

    def process(
        self,
        element: tuple[int, Batch],
        head: ReadModifyWriteRuntimeState = beam.DoFn.StateParam(HEAD),
        log_0: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[0]),
        log_1: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[1]),
        log_2: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[2]),
        log_3: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[3]),
        log_4: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[4]),
        log_5: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[5]),
        log_6: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[6]),
        log_7: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[7]),
    ) -> Iterator[Report]:
        shard, batch = element
        logs = (log_0, log_1, log_2, log_3, log_4, log_5, log_6, log_7)
        with timed("StoreUnique"):
            verdicts = self._filter.judge(shard, batch.events, batch.keys, _clock(self._sink).now(), head, logs, self)
            reports = self._writer.add(self._without_repeated_warnings(batch), verdicts)
        yield from _counted(reports)
        if self._filter.is_crowded():
            yield from self._settle()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        yield from map(GlobalWindows.windowed_value, self._settle())

    def teardown(self) -> None:
        self._writer.close()

    def _without_repeated_warnings(self, batch: Batch) -> Batch:
        if not batch.warnings:
            return batch
        firsts = self._debounce.firsts(batch.warnings)
        count(Metric.WARNINGS_SUPPRESSED, sum(one.count for one in batch.warnings) - sum(one.count for one in firsts))
        return msgspec.structs.replace(batch, warnings=firsts)

    def _settle(self) -> list[Report]:
        with timed("Insert"):
            reports = _counted(self._writer.settle())
        self._filter.evict(self)
        return reports


def _counted(reports: list[Report]) -> list[Report]:
    count_outcomes(reports)
    return reports
