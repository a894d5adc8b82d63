"""`DropDuplicates`: batches in, the same batches without events whose (team, uuid) came before out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from time import time_ns
from uuid import uuid4

import apache_beam as beam
from apache_beam.transforms.userstate import AccumulatingRuntimeState, ReadModifyWriteRuntimeState

from schemas.event import Batch
from transforms.dedupe.filter import DuplicateFilter, check_shards
from transforms.dedupe.shards import split
from transforms.dedupe.state import HEAD, LOGS
from transforms.process import once_a_process


@dataclass
class DropDuplicates(beam.PTransform):
    """A PTransform that drops the second of two events of one team with one uuid that arrive within 7 to 8 days.

    `PCollection[Batch]` -> `PCollection[Batch]`. Order and window do not matter; the memory is in the runner's state, by shard. An
    event whose arrival is more than 8 days before the newest of its shard is let through. To store events use
    `StoreUnique`: a duplicate may be acknowledged only when the first is durable.

    Args:
        shards: the number of shards, fixed for the life of a job; it divides 256.
    """

    shards: int = 16
    _job: str = field(default_factory=lambda: uuid4().hex, repr=False)

    def __post_init__(self) -> None:
        super().__init__()
        check_shards(self.shards)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Wire the step."""
        shards = batches | "SplitByShard" >> beam.FlatMap(split, self.shards).with_output_types(tuple[int, Batch])
        return shards | "DropDuplicates" >> beam.ParDo(_DropDuplicatesFn(self._job, self.shards)).with_output_types(Batch)


@once_a_process(8)
def _filter(job: str, shards: int) -> DuplicateFilter:  # noqa: ARG001 - the cache's key
    """Return the process's filter of a job: DoFn instances come and go."""
    return DuplicateFilter(shards, table=None, log=True)


class _DropDuplicatesFn(beam.DoFn):
    def __init__(self, job: str, shards: int) -> None:
        self._job = job
        self._shards = shards

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
    ) -> Iterator[Batch]:
        shard, batch = element
        logs = (log_0, log_1, log_2, log_3, log_4, log_5, log_6, log_7)
        verdicts = _filter(self._job, self._shards).judge(shard, batch.events, batch.keys, time_ns() // 1000, head, logs)
        yield Batch([batch.events[place] for place in verdicts.new], batch.letters, batch.warnings, b"", batch.news, batch.facts)
