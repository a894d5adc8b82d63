"""`ParseEvents`: raw messages in; batches of events with their dead letters and warnings, and the count of what was received, out."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

import apache_beam as beam
from apache_beam import pvalue
from apache_beam.typehints.decorators import no_annotations

from schemas.errors import BreakerOpen
from schemas.event import Batch
from schemas.message import Messages
from schemas.outcomes import Report
from transforms.breaker import BreakerAt
from transforms.breaker.window import seen_of
from transforms.io.registry import RegistrySource
from transforms.metrics import Metric, alarms, count, count_outcomes, timed
from transforms.parse import rules
from transforms.parse.rules import Piece, parse_pieces

logger = logging.getLogger(__name__)

REPORTS = "reports"


class Parsed(NamedTuple):
    """The outputs of `ParseEvents`: PCollection[Batch] and PCollection[Report]."""

    batches: beam.PCollection
    reports: beam.PCollection


@dataclass
class ParseEvents(beam.PTransform):
    """A PTransform that takes messages apart, and checks and completes each event.

    `PCollection[Messages]` -> `Parsed`. A message or an event that is bad becomes a dead letter in its batch; its neighbours go on.
    Messages that become much are given out in several batches, one after the other, so that no more is held than one.
    Element by element: order and window do not matter.

    Args:
        registry: the teams, by token.
        breaker: of a stream: fails the bundle when far too much would be rejected.
    """

    registry: RegistrySource
    breaker: BreakerAt | None = None

    def __post_init__(self) -> None:
        super().__init__()

    @no_annotations
    def expand(self, messages: beam.PCollection) -> Parsed:
        """Wire the step."""
        parse = beam.ParDo(_ParseEventsFn(self.registry, self.breaker)).with_outputs(REPORTS, main="batches")
        outputs = messages | "ParseEvents" >> parse
        outputs.batches.element_type = Batch
        outputs.reports.element_type = Report
        return Parsed(outputs.batches, outputs.reports)


class _ParseEventsFn(beam.DoFn):
    def __init__(self, registry: RegistrySource, breaker: BreakerAt | None) -> None:
        self._registry = registry
        self._breaker = breaker

    def setup(self) -> None:
        if not rules.COMPILED:
            logger.warning(
                "No compiled parser on this worker: an event costs half as much again. Install sluice where there is a C compiler."
            )

    @no_annotations
    def process(self, messages: Messages) -> Iterator[Batch | pvalue.TaggedOutput]:
        pieces = parse_pieces(messages, self._registry.current())
        while (piece := self._next(messages, pieces)) is not None:
            batch, report, _ = piece
            count(Metric.MESSAGES_PARSED, report.parsed)
            count_outcomes([report])
            yield pvalue.TaggedOutput(REPORTS, report)
            if batch.events or batch.letters:
                yield batch

    def _next(self, messages: Messages, pieces: Iterator[Piece]) -> Piece | None:
        with timed("ParseEvents"):
            piece = next(pieces, None)
            if piece is not None:
                self._check(messages, piece)
        return piece

    def _check(self, messages: Messages, piece: Piece) -> None:
        if self._breaker is None:
            return
        try:
            self._breaker.breaker().check(seen_of(messages, *piece, monotonic()))
        except BreakerOpen as error:
            alarms[error.stream] = str(error)
            count(Metric.BREAKERS_OPENED, 1)
            raise
