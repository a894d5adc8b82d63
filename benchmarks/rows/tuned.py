"""The naive pipeline, tuned: an event is an element still, and `DeduplicatePerKey` finds duplicates, as in a stream.

Lines stay bytes, read by a generator instead of `ReadFromText`; JSON by msgspec, and before the duplicates are gone no more of it than the
id; primitive coders by type hints; inserts of 20,000 rows, in columns. And when the worker puts a value of state in its cache, it does not
weigh all that a module refers to, which takes nine tenths of the naive row.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import apache_beam as beam
import objsize
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.deduplicate import DeduplicatePerKey

from benchmarks.rows import Job, Load
from benchmarks.rows.clickhouse import stored, warm_up
from benchmarks.rows.common import AT_ONCE, EventRow, identify, insert, lines, parse


def _with_id(line: bytes) -> tuple[str, bytes]:
    return identify(line), line


class InsertLines(beam.DoFn):
    """Store lines, 20,000 at once."""

    def __init__(self, sink: str) -> None:
        self._sink = sink

    def start_bundle(self) -> None:
        """Begin."""
        self._rows: list[EventRow] = []

    def process(self, element: bytes) -> None:
        """Take a line."""
        self._rows.append(parse(element)[1])
        if len(self._rows) >= AT_ONCE:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        """Store what is left."""
        if self._rows:
            insert(self._sink, self._rows)
        self._rows = []


def _run(files: list[str], sink: str) -> None:
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        events = pipeline | beam.Create([files]) | "Read" >> beam.FlatMap(lines).with_output_types(bytes)
        known = events | "Identify" >> beam.Map(_with_id).with_output_types(tuple[str, bytes])
        unique = known | DeduplicatePerKey(processing_time_duration=7 * 86_400)
        unique | beam.Values().with_output_types(bytes) | "Insert" >> beam.ParDo(InsertLines(sink))


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    objsize.default_settings.exclude_modules_globals = False
    sink = warm_up(folder)
    yield Job(lambda: _run(load.files, sink), lambda: stored(sink))
