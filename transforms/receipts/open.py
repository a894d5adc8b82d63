"""`OpenReceipts`: messages of a stream in, the same and a report of each receipt out, once the ledger knows it."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.windowed_value import WindowedValue

from schemas.message import Messages
from schemas.outcomes import Report
from transforms.metrics import Metric, count, timed
from transforms.receipts.ledger import Ledger

REPORTS = "reports"


class Opened(NamedTuple):
    """The outputs of `OpenReceipts`: PCollection[Messages] and PCollection[Report]."""

    messages: beam.PCollection
    reports: beam.PCollection


@dataclass
class OpenReceipts(beam.PTransform):
    """A PTransform that enters the receipts of a stream in the ledger, before any row of them is stored, and reports how much each holds.

    `PCollection[Messages]`, each of a receipt of its own -> `Opened`. Element by element: order and window do not matter.

    Args:
        ledger: where they are entered.
    """

    ledger: Ledger

    def __post_init__(self) -> None:
        super().__init__()

    @no_annotations
    def expand(self, messages: beam.PCollection) -> Opened:
        """Wire the step."""
        outputs = messages | "OpenReceipts" >> beam.ParDo(_OpenReceiptsFn(self.ledger)).with_outputs(REPORTS, main="messages")
        outputs.messages.element_type = Messages
        outputs.reports.element_type = Report
        return Opened(outputs.messages, outputs.reports)


class _OpenReceiptsFn(beam.DoFn):
    """Opens a receipt while the steps behind work on the one before it: entering it takes as long as a tenth of that."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def setup(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="open")

    def start_bundle(self) -> None:
        self._opening: tuple[Messages, Future[None]] | None = None

    @no_annotations
    def process(self, messages: Messages) -> Iterator[Messages | TaggedOutput]:
        before = self._opening
        self._opening = messages, self._thread.submit(self._ledger.open_stream, messages)
        count(Metric.BYTES_READ, sum(map(len, messages.payloads)))
        if before is not None:
            yield from _opened(*before)

    @no_annotations
    def finish_bundle(self) -> Iterator[WindowedValue | TaggedOutput]:
        if self._opening is not None:
            for each in _opened(*self._opening):
                if isinstance(each, TaggedOutput):
                    yield TaggedOutput(each.tag, GlobalWindows.windowed_value(each.value))
                else:
                    yield GlobalWindows.windowed_value(each)

    def teardown(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)


def _opened(messages: Messages, opening: Future[None]) -> Iterator[Messages | TaggedOutput]:
    """Yield a receipt's report and its messages, when it is open."""
    with timed("OpenReceipts"):
        opening.result()
    yield TaggedOutput(REPORTS, report_of(messages))
    yield messages


def report_of(messages: Messages) -> Report:
    """Return the report of a receipt that is one element."""
    return Report(messages.receipt, read=len(messages.payloads), source=messages.source, start=messages.start, end=messages.end)
