"""`ApplyPersonProperties`: batches in, the same events with the properties of their persons out."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import chain
from time import time_ns

import apache_beam as beam
from apache_beam.transforms.userstate import AccumulatingRuntimeState, ReadModifyWriteRuntimeState

from schemas.event import PENDING, Batch
from schemas.persons import PROPERTIES
from transforms.dedupe.filter import check_shards
from transforms.io.clickhouse import shared
from transforms.metrics import timed
from transforms.one_process import Keyed
from transforms.persons.apply import apply_properties
from transforms.persons.known import KnownPersons
from transforms.persons.shards import split_by_person
from transforms.persons.state import HEAD, LOGS, PersonShards
from transforms.persons.stored import StoredFacts
from transforms.persons.warn import Warnings
from transforms.process import once_a_process


@dataclass
class ApplyPersonProperties(beam.PTransform):
    """A PTransform that gives events the properties of identified and merged persons, by shard of persons. It follows `ResolvePersons`.

    `PCollection[Batch]` -> `PCollection[Batch]`. Events that have all pass through.

    Args:
        sink, run, shards, log: as of ResolvePersons.
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
        shards = batches | "SplitByPerson" >> beam.FlatMap(keyed.split).with_output_types(tuple[int, Batch])
        return shards | "ApplyPersonProperties" >> beam.ParDo(keyed.step).with_output_types(Batch)

    def keyed(self) -> Keyed:
        """Return the step as `InOneProcess` takes it."""
        return Keyed(partial(split_by_person, shards=self.shards), _ApplyPersonPropertiesFn(self))


@once_a_process()
def _shards(sink: str, run: str, shards: int, log: bool) -> PersonShards[KnownPersons]:  # noqa: ARG001 - `run` is part of the cache's key
    """Return what the process knows of a job's shards: DoFn instances come and go."""
    stored = StoredFacts(shared(sink))
    return PersonShards(KnownPersons, lambda shard: stored.of_persons(shard, shards), log)


class _ApplyPersonPropertiesFn(beam.DoFn):
    def __init__(self, step: ApplyPersonProperties) -> None:
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
        with timed("ApplyPersonProperties"):
            persons = self._shards.take(shard, head, (log_0, log_1))
            waiting = [event for event in batch.events if event.person_created_at == PENDING]
            warnings = Warnings(batch.warnings)
            applied = apply_properties(persons, batch, warnings.of_event)
            changes = chain(applied.facts, (fact for event in waiting for fact in event.facts if fact.kind in PROPERTIES))
            self._shards.put(shard, persons, changes, time_ns() // 1000, head, (log_0, log_1))
        applied.warnings = warnings.all()
        yield applied
