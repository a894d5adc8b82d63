"""`ResolvePersons`: batches in, the same events with the person of each out."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import time_ns

import apache_beam as beam
from apache_beam.transforms.userstate import AccumulatingRuntimeState, ReadModifyWriteRuntimeState

from schemas.event import Batch
from transforms.dedupe.filter import check_shards
from transforms.io.clickhouse import shared
from transforms.metrics import timed
from transforms.one_process import Keyed
from transforms.persons.known import KnownIds
from transforms.persons.resolve import resolve
from transforms.persons.shards import split_by_id
from transforms.persons.state import HEAD, LOGS, PersonShards
from transforms.persons.stored import StoredFacts
from transforms.persons.warn import Warnings
from transforms.process import once_a_process


@dataclass
class ResolvePersons(beam.PTransform):
    """A PTransform that finds out whose each event is, by shard of distinct ids.

    `PCollection[Batch]` -> `PCollection[Batch]`. Events of ids that stand for themselves leave with their person's properties; for the
    others `ApplyPersonProperties` has to follow. Facts that the tables know already are left out.

    Args:
        sink: the ClickHouse URL that shards are rebuilt from.
        run: the run's UUID; what a process knows is shared by all steps of a run.
        shards: the number of shards, fixed for the life of a job; it divides 256.
        log: whether recent facts are also kept in the runner's state.
    """

    sink: str
    run: str
    shards: int = 16
    log: bool = True

    def __post_init__(self) -> None:
        super().__init__()
        check_shards(self.shards)

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Wire the step."""
        keyed = self.keyed()
        shards = batches | "SplitById" >> beam.FlatMap(keyed.split).with_output_types(tuple[int, Batch])
        return shards | "ResolvePersons" >> beam.ParDo(keyed.step).with_output_types(Batch)

    def keyed(self) -> Keyed:
        """Return the step as `InOneProcess` takes it."""
        return Keyed(partial(split_by_id, shards=self.shards), _ResolvePersonsFn(self))


@once_a_process()
def _shards(sink: str, run: str, shards: int, log: bool) -> PersonShards[KnownIds]:  # noqa: ARG001 - `run` is part of the cache's key
    """Return what the process knows of a job's shards: DoFn instances come and go."""
    stored = StoredFacts(shared(sink))
    return PersonShards(KnownIds, lambda shard: stored.of_ids(shard, shards), log)


class _ResolvePersonsFn(beam.DoFn):
    def __init__(self, step: ResolvePersons) -> None:
        self._options = (step.sink, step.run, step.shards, step.log)

    def setup(self) -> None:
        self._shards = _shards(*self._options)

    def process(
        self,
        element: tuple[int, Batch],
        head: ReadModifyWriteRuntimeState = beam.DoFn.StateParam(HEAD),
        log_0: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[0]),
        log_1: AccumulatingRuntimeState = beam.DoFn.StateParam(LOGS[1]),
    ) -> Iterator[Batch]:
        shard, batch = element
        with timed("ResolvePersons"):
            ids = self._shards.take(shard, head, (log_0, log_1))
            warnings = Warnings(batch.warnings)
            resolved = resolve(ids, batch, warnings.of_event, warnings.of_merge)
            changes = chain(batch.news, (fact for event in batch.events for fact in event.facts))
            self._shards.put(shard, ids, changes, time_ns() // 1000, head, (log_0, log_1))
        resolved.warnings = warnings.all()
        yield resolved
