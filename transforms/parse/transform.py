"""`ParseEvents`: raw messages in; batches of events with their dead letters and warnings, and the count of what was received, out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.typehints.decorators import no_annotations

from schemas.event import Batch
from schemas.message import Messages
from schemas.outcomes import Report
from transforms.io.registry import RegistrySource
from transforms.metrics import Metric, count, count_outcomes, timed
from transforms.parse.rules import parse_messages

REPORTS = "reports"


class Parsed(NamedTuple):
    """The outputs of `ParseEvents`: PCollection[Batch] and PCollection[Report]."""

    batches: beam.PCollection
    reports: beam.PCollection


@dataclass
class ParseEvents(beam.PTransform):
    """A PTransform that takes messages apart, and checks and completes each event.

    `PCollection[Messages]` -> `Parsed`. A message or an event that is bad becomes a dead letter in its batch; its neighbours go on.
    Element by element: order and window do not matter.

    Args:
        registry: the teams, by token.
    """

    registry: RegistrySource

    def __post_init__(self) -> None:
        super().__init__()

    @no_annotations
    def expand(self, messages: beam.PCollection) -> Parsed:
        """Wire the step."""
        parse = beam.ParDo(_ParseEventsFn(self.registry)).with_outputs(REPORTS, main="batches")
        outputs = messages | "ParseEvents" >> parse
        outputs.batches.element_type = Batch
        outputs.reports.element_type = Report
        return Parsed(outputs.batches, outputs.reports)


class _ParseEventsFn(beam.DoFn):
    def __init__(self, registry: RegistrySource) -> None:
        self._registry = registry

    @no_annotations
    def process(self, messages: Messages) -> Iterator[Batch | pvalue.TaggedOutput]:
        with timed("ParseEvents"):
            batch, report = parse_messages(messages, self._registry.current())
        count(Metric.MESSAGES_PARSED, report.parsed)
        count_outcomes([report])
        yield pvalue.TaggedOutput(REPORTS, report)
        if batch.events or batch.letters:
            yield batch
