"""The naive pipeline, tuned as far as it goes while an event is an element.

What was tuned, from 1,275 CPU us an event: lines stay bytes, read by a generator instead of `ReadFromText`; JSON by msgspec; no
state and no timer an id (a plain state cell alone takes 1,140 us), but `GroupByKey` and the first line of each id, which only a bounded
input allows; before it no more than the id is parsed; primitive coders by type hints; inserts of 20,000 rows, in columns.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from benchmarks.rows import Job, Load
from benchmarks.rows.clickhouse import stored, warm_up
from benchmarks.rows.common import AT_ONCE, EventRow, identify, insert, lines, parse


def _with_id(line: bytes) -> tuple[str, bytes]:
    return identify(line), line


def _first(group: tuple[str, Iterable[bytes]]) -> bytes:
    return next(iter(group[1]))


class _Insert(beam.DoFn):
    def __init__(self, sink: str) -> None:
        self._sink = sink

    def start_bundle(self) -> None:
        self._rows: list[EventRow] = []

    def process(self, element: bytes) -> None:
        self._rows.append(parse(element)[1])
        if len(self._rows) >= AT_ONCE:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        if self._rows:
            insert(self._sink, self._rows)
        self._rows = []


def _run(files: list[str], sink: str) -> None:
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        events = pipeline | beam.Create([files]) | "Read" >> beam.FlatMap(lines).with_output_types(bytes)
        groups = events | "Identify" >> beam.Map(_with_id).with_output_types(tuple[str, bytes]) | beam.GroupByKey()
        groups | "First" >> beam.Map(_first).with_output_types(bytes) | "Insert" >> beam.ParDo(_Insert(sink))


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = warm_up(folder)
    yield Job(lambda: _run(load.files, sink), lambda: stored(sink))
