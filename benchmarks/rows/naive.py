"""The pipeline that Beam's tutorials lead to: an event an element, `DeduplicatePerKey`, rows inserted by a DoFn."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import apache_beam as beam
import ciso8601
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.runner import PipelineRunner
from apache_beam.transforms.deduplicate import DeduplicatePerKey

from benchmarks.rows import Job, Load
from benchmarks.rows.clickhouse import stored, warm_up
from benchmarks.rows.common import SCHEMA
from transforms.io.clickhouse import shared

AT_ONCE = 10_000  # rows an insert


def _parse(line: str) -> tuple[str, dict[str, Any]]:
    event = json.loads(line)
    uuid = UUID(event["uuid"]) if event.get("uuid") else uuid4()
    row = {
        "uuid": uuid.bytes,
        "event": event["event"],
        "distinct_id": str(event.get("distinct_id", event["properties"].get("distinct_id"))),
        "timestamp": _time(event.get("timestamp")),
        "properties": json.dumps(event["properties"]).encode(),
    }
    return f"{event['token']}:{uuid}", row


def _time(text: str | None) -> datetime:
    try:
        return ciso8601.parse_datetime(text or "")
    except ValueError:
        return datetime.now(UTC)


class _Insert(beam.DoFn):
    def __init__(self, sink: str) -> None:
        self._sink = sink

    def start_bundle(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def process(self, element: tuple[str, dict[str, Any]]) -> None:
        self._rows.append(element[1])
        if len(self._rows) >= AT_ONCE:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        shared(self._sink).insert("events", pa.Table.from_pylist(self._rows, SCHEMA))
        self._rows = []


def run(files: list[str], sink: str, runner: PipelineRunner | None) -> None:
    """Run the pipeline.

    Args:
        runner: None for the one that Beam chooses.
    """
    with beam.Pipeline(runner, PipelineOptions([])) as pipeline:
        lines = [pipeline | f"Read{number}" >> beam.io.ReadFromText(file) for number, file in enumerate(files)]
        events = lines | beam.Flatten() | "Parse" >> beam.Map(_parse)
        unique = events | DeduplicatePerKey(processing_time_duration=7 * 86_400)
        unique | "Insert" >> beam.ParDo(_Insert(sink))


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = warm_up(folder)
    yield Job(lambda: run(load.files, sink, FnApiRunner()), lambda: stored(sink))
