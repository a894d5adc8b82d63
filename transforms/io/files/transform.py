"""`ReadFiles`: patterns in, the messages of the files that they name and a report a range out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

import apache_beam as beam
from apache_beam.pvalue import DoOutputsTuple, PBegin, TaggedOutput
from apache_beam.typehints.decorators import no_annotations

from schemas.message import FileRange, Messages
from schemas.outcomes import Report
from transforms.io.files.ledger import groups
from transforms.io.files.plan import RANGE_BYTES, KnowsFiles, match, plan_ranges
from transforms.io.files.read import SIZES, read_range
from transforms.metrics import Metric, count

OPENED_AT_ONCE = 1_000  # receipts


class OpensReceipts(Protocol):
    """The part of a ledger that a source needs. It is pickled."""

    def open_receipts(self, ranges: Sequence[FileRange]) -> None:
        """Record that these ranges are about to be read. It may be called again with the same ones."""


@dataclass
class ReadFiles(beam.PTransform):
    """A PTransform which reads files: lines as they are, plain, gzip or zstd; records of Avro and Parquet files.

    `PBegin` -> `messages`: `PCollection[Messages]`, and `reports`: `PCollection[Report]`, one a range, that says how many messages were
    read. Files are matched when the job runs, and split into ranges that are spread over all workers. Each receipt is
    opened in the ledger before its range is read. Messages of a range are in order. A bundle that is run again gives the same ones.

    Args:
        patterns: files, folders or globs, on any of Beam's filesystems.
        run: the run's UUID.
        now: when the run started, microseconds since 1970. Messages without a time of arrival have that of their file: the one
            that it had when it was read first; of a new one, when it was written, and not later than this.
        range_bytes: the largest range of a file that can be split.
        batch_size: the most messages of one element.
        allow_empty: whether a pattern may match no file.
        ledger: where receipts are opened, if anywhere.
        known: which files were read before; without it all are new.
    """

    patterns: Sequence[str]
    run: str
    now: int
    range_bytes: int = RANGE_BYTES
    batch_size: int = SIZES.messages
    allow_empty: bool = False
    ledger: OpensReceipts | None = None
    known: KnowsFiles | None = None

    def __post_init__(self) -> None:
        super().__init__()
        if not self.patterns or isinstance(self.patterns, str):
            raise ValueError(f"patterns is {self.patterns!r}, but must be a list of at least one")
        UUID(self.run)
        for name in ("range_bytes", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, but must be at least 1")

    @no_annotations
    def expand(self, begin: PBegin) -> DoOutputsTuple:
        """Wire the step."""
        return (
            begin
            | "Patterns" >> beam.Create([list(self.patterns)])  # all in one: a file that two of them name is read once
            | "PlanRanges" >> beam.ParDo(_PlanRangesFn(self)).with_output_types(FileRange)
            | "SpreadRanges" >> beam.Reshuffle()
            | "ReadRanges"
            >> beam.ParDo(_ReadRangesFn(self.batch_size))
            .with_output_types(Messages, reports=Report)
            .with_outputs("reports", main="messages")
        )


class _PlanRangesFn(beam.DoFn):
    def __init__(self, step: ReadFiles) -> None:
        self._run = UUID(step.run)
        self._now = step.now
        self._range_bytes = step.range_bytes
        self._allow_empty = step.allow_empty
        self._ledger = step.ledger
        self._known = step.known

    def process(self, patterns: list[str]) -> Iterator[FileRange]:
        files = match(patterns, self._allow_empty)
        for ranges in groups(plan_ranges(files, self._run, self._now, self._range_bytes, self._known), OPENED_AT_ONCE):
            if self._ledger is not None:
                self._ledger.open_receipts(ranges)
            yield from ranges


class _ReadRangesFn(beam.DoFn):
    def __init__(self, batch_size: int) -> None:
        self._batch_size = batch_size

    @no_annotations
    def process(self, part: FileRange) -> Iterator[Messages | TaggedOutput]:
        read = 0
        for messages in read_range(part, self._batch_size):
            read += len(messages.payloads)
            yield messages
        count(Metric.BYTES_READ, part.end - part.start)
        yield TaggedOutput("reports", Report(part.receipt, read=read, source=part.path, start=part.start, end=part.end))
