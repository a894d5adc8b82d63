"""`InOneProcess`: keyed steps as a chain of calls, where one process does all the work: no shuffle between them, no state in the runner.

Between two keyed steps a runner encodes each batch, hands it round and decodes it, so that the key's worker gets it. Where there is one
worker, that is work for nothing, and time that each message waits (docs/decisions.md, 31). What the steps know is in the process in any
case, and in the tables if the process dies.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

import apache_beam as beam
from apache_beam.utils.windowed_value import WindowedValue

from schemas.event import Batch
from schemas.outcomes import Report
from transforms.process import once_a_process

Split = Callable[[Batch], Iterator[tuple[int, Batch]]]


class Keyed(NamedTuple):
    """A keyed step: how batches are split by its key, and the DoFn that takes a part and the cell of its key.

    Its state is one cell, `head`, which says as of when the process knows the key. Other cells stay unused: they are for other processes.
    """

    split: Split
    step: beam.DoFn


class KeyedStep(Protocol):
    """A transform that is a keyed step."""

    def keyed(self) -> Keyed:
        """Return how it is made."""


@dataclass
class InOneProcess(beam.PTransform):
    """A PTransform which runs keyed steps one after the other: `PCollection[Batch]` -> `PCollection[Report]`.

    For runners with one process, which do not run a bundle again once it has come to its end: Beam's local runner and Prism fail instead.
    A bundle that fails leaves nothing behind: what the steps know is forgotten, and read from the tables by the next one.

    Args:
        steps: in their order; the last one makes the reports.
        run: the run's UUID.
    """

    steps: Sequence[KeyedStep]
    run: str

    def __post_init__(self) -> None:
        super().__init__()

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        """Wire the steps."""
        chain = _ChainFn([step.keyed() for step in self.steps], self.run)
        return batches | "Chain" >> beam.ParDo(chain).with_output_types(Report)


class Cell:
    """A state cell, in the place of a runner's."""

    def __init__(self) -> None:
        self._value: bytes | None = None

    def read(self) -> bytes | None:
        """Return what was written last, None if nothing was."""
        return self._value

    def write(self, value: bytes) -> None:
        """Take a value."""
        self._value = value


class _Heads:
    """The cells of a run, by step and key, and whose turn it is: a bundle has them from its first batch to its end."""

    def __init__(self) -> None:
        self.turn = Lock()
        self.cells: dict[tuple[int, int], Cell] = {}


@once_a_process()
def _heads(run: str) -> _Heads:  # noqa: ARG001 - the cache's key
    return _Heads()


class _ChainFn(beam.DoFn):
    def __init__(self, steps: Sequence[Keyed], run: str) -> None:
        self._steps = steps
        self._run = run
        self._has_turn = False

    def setup(self) -> None:
        self._heads = _heads(self._run)
        for _, step in self._steps:
            step.setup()

    def start_bundle(self) -> None:
        for _, step in self._steps:
            step.start_bundle()

    def process(self, batch: Batch) -> Iterator[Report]:
        if not self._has_turn:
            self._heads.turn.acquire()
            self._has_turn = True
        try:
            yield from self._pass_on(0, batch)
        except BaseException:
            self._give_up()
            raise

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if not self._has_turn:
            return
        try:
            yield from self._steps[-1].step.finish_bundle()
        except BaseException:
            self._give_up()
            raise
        self._has_turn = False
        self._heads.turn.release()

    def teardown(self) -> None:
        self._give_up()
        for _, step in self._steps:
            step.teardown()

    def _pass_on(self, place: int, batch: Batch) -> Iterator[Report]:
        split, step = self._steps[place]
        for key, part in split(batch):
            cell = self._heads.cells.setdefault((place, key), Cell())
            made = step.process((key, part), cell)
            if place + 1 == len(self._steps):
                yield from made
            else:
                for each in made:
                    yield from self._pass_on(place + 1, each)

    def _give_up(self) -> None:
        """End a bundle that failed."""
        if self._has_turn:
            self._heads.cells.clear()
            self._has_turn = False
            self._heads.turn.release()
