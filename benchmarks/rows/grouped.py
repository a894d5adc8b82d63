"""The cheapest pipeline with an event an element: as `tuned`, but with `GroupByKey` and the first line of each id.

There is no state and no timer an id, and before the shuffle no more than the id is parsed. Only a bounded input that fits in memory
allows it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from benchmarks.rows import Job, Load
from benchmarks.rows.clickhouse import stored, warm_up
from benchmarks.rows.common import identify, lines
from benchmarks.rows.tuned import InsertLines


def _with_id(line: bytes) -> tuple[str, bytes]:
    return identify(line), line


def _first(group: tuple[str, Iterable[bytes]]) -> bytes:
    return next(iter(group[1]))


def _run(files: list[str], sink: str) -> None:
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        events = pipeline | beam.Create([files]) | "Read" >> beam.FlatMap(lines).with_output_types(bytes)
        groups = events | "Identify" >> beam.Map(_with_id).with_output_types(tuple[str, bytes]) | beam.GroupByKey()
        groups | "First" >> beam.Map(_first).with_output_types(bytes) | "Insert" >> beam.ParDo(InsertLines(sink))


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = warm_up(folder)
    yield Job(lambda: _run(load.files, sink), lambda: stored(sink))
