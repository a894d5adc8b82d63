"""`ReadLetters`: the pages of a replay in, its letters as messages out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

import apache_beam as beam
from apache_beam.pvalue import PBegin

from schemas.message import Messages
from transforms.io.clickhouse import shared
from transforms.io.letters.pages import Page, read_page
from transforms.pace import Pace


@dataclass
class ReadLetters(beam.PTransform):
    """A PTransform which reads dead letters: each as the message that it was, with the arrival and the place of its first attempt.

    `PBegin` -> `PCollection[Messages]`, each of a receipt of its own. A bundle that is run again gives the same ones. Pages are spread over
    all workers; at a rate one worker reads all of them, since the rate is of the whole replay.

    Args:
        sink: the ClickHouse URL.
        run: the run's UUID, under which the pages were planned.
        pages: what is read.
        rate: letters a second; None for as fast as it goes.
    """

    sink: str
    run: str
    pages: Sequence[Page]
    rate: float | None = None

    def __post_init__(self) -> None:
        super().__init__()
        UUID(self.run)
        if self.rate is not None and self.rate <= 0:
            raise ValueError(f"rate is {self.rate}, but must be more than 0")

    def expand(self, begin: PBegin) -> beam.PCollection:
        """Wire the step."""
        groups = [list(self.pages)] if self.rate is not None else [[page] for page in self.pages]
        return begin | "Pages" >> beam.Create(groups) | "ReadPages" >> beam.ParDo(_ReadPagesFn(self)).with_output_types(Messages)


class _ReadPagesFn(beam.DoFn):
    def __init__(self, step: ReadLetters) -> None:
        self._sink = step.sink
        self._run = UUID(step.run)
        self._rate = step.rate

    def process(self, pages: list[Page]) -> Iterator[Messages]:
        pace = Pace(self._rate)
        for page in pages:
            yield read_page(shared(self._sink), self._run, page)
            pace.wait(page.end - pages[0].start)
