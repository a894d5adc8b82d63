"""Jobs on the real steps and tables, bundle by bundle: with restarts, failed bundles, and state that is lost or rolled back."""

from collections.abc import Callable, Iterator, Sequence
from uuid import uuid4

import apache_beam as beam

from schemas.event import Batch, IngestionWarning
from schemas.message import Messages
from schemas.teams import Registry
from tests.transforms.state_fakes import FakeState
from transforms.dedupe.filter import Verdicts
from transforms.io.clickhouse import shared
from transforms.parse.rules import parse_messages
from transforms.persons.apply_person_properties import ApplyPersonProperties, _ApplyPersonPropertiesFn
from transforms.persons.resolve_persons import ResolvePersons, _ResolvePersonsFn
from transforms.persons.shards import split_by_id, split_by_person
from transforms.sink.writer import Writer

Split = Callable[[Batch, int], Iterator[tuple[int, Batch]]]


class Job:
    """One job, with a worker that can be restarted. Each bundle's facts are inserted before the next bundle begins.

    Args:
        sink: the ClickHouse URL, with its tables.
        registry: the teams.
        shards: how many.
        log: whether the runner's state keeps recent facts.
    """

    def __init__(self, sink: str, registry: Registry, shards: int = 4, log: bool = True) -> None:
        self._sink, self._registry, self._shards, self._log = sink, registry, shards, log
        self.states = [[FakeState(2) for _ in range(shards)] for _ in range(2)]
        self.warnings: list[IngestionWarning] = []
        self.restart()

    def restart(self) -> None:
        """Begin again in a new process; the runner's state is still there."""
        run = str(uuid4())
        resolve = _ResolvePersonsFn(ResolvePersons(self._sink, run, self._shards, self._log))
        apply = _ApplyPersonPropertiesFn(ApplyPersonProperties(self._sink, run, self._shards, self._log))
        self._steps: list[tuple[Split, beam.DoFn]] = [(split_by_id, resolve), (split_by_person, apply)]
        for _, step in self._steps:
            step.setup()

    def lose_state(self) -> None:
        """Begin again as a new job, that has nothing but the tables."""
        self.states = [[FakeState(2) for _ in range(self._shards)] for _ in range(2)]
        self.restart()

    def saved(self) -> list[list[FakeState]]:
        """Return a copy of the runner's state."""
        return [[state.copy() for state in step] for step in self.states]

    def run(self, payloads: Sequence[bytes], then: str = "", arrival: int = 0) -> list[Batch]:
        """Run a bundle; return its batches as StoreUnique gets them.

        Args:
            payloads: messages.
            arrival: of those that have none, microseconds since 1970.
            then: "fails": it fails before anything is inserted, "rolls back": it fails when all is. The runner's state is as before.
        """
        before = self.saved()
        messages = Messages(1, "file", list(payloads), list(range(len(payloads))), arrival, [], "")
        batches = [parse_messages(messages, self._registry)[0]]
        for (split, step), states in zip(self._steps, self.states, strict=True):
            done = []
            for batch in batches:
                for shard, part in split(batch, self._shards):
                    done += step.process((shard, part), states[shard].head, *states[shard].logs)
            batches = done
        if then != "fails":
            writer = Writer(shared(self._sink), 1 << 30, 1 << 30)
            for batch in batches:
                writer.add(batch, Verdicts([], list(range(len(batch.events))), [], []))  # facts alone, as those of duplicates
                self.warnings += batch.warnings
            writer.settle()
            writer.close()
        if then:
            self.states = before
        return batches
