"""The pipeline that Beam's tutorials lead to: an event an element, `DeduplicatePerKey`, rows inserted by a DoFn."""

import json
from typing import Any
from uuid import UUID

import apache_beam as beam
import ciso8601
import pyarrow as pa
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.deduplicate import DeduplicatePerKey

from benchmarks.plain import stored
from schemas.tables import EVENTS
from transforms.io.clickhouse import shared

ROWS = 10_000  # an insert
SCHEMA = pa.schema([EVENTS.field(name) for name in ("uuid", "event", "distinct_id", "timestamp", "properties")])


def _parse(line: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        event = json.loads(line)
        row = {
            "uuid": UUID(event["uuid"]).bytes,
            "event": event["event"],
            "distinct_id": str(event["distinct_id"]),
            "timestamp": ciso8601.parse_datetime(event["timestamp"]),
            "properties": json.dumps(event["properties"]).encode(),
        }
    except (ValueError, KeyError, TypeError, RecursionError):
        return []  # the naive pipeline drops what is bad
    return [(f"{event.get('token')}:{event['uuid']}", row)]


class _Insert(beam.DoFn):
    def __init__(self, sink: str) -> None:
        self._sink = sink

    def start_bundle(self) -> None:
        self._rows: list[dict[str, Any]] = []

    def process(self, element: tuple[str, dict[str, Any]]) -> None:
        self._rows.append(element[1])
        if len(self._rows) >= ROWS:
            self.finish_bundle()

    def finish_bundle(self) -> None:
        shared(self._sink).insert("events", pa.Table.from_pylist(self._rows, SCHEMA))
        self._rows = []


def run(files: list[str], sink: str) -> int:
    """Read JSON lines into `events` of a chdb folder; return how many rows came of them."""
    before = stored(sink)
    with beam.Pipeline(FnApiRunner(), PipelineOptions([])) as pipeline:
        lines = [pipeline | f"Read{number}" >> beam.io.ReadFromText(file) for number, file in enumerate(files)]
        events = lines | beam.Flatten() | "Parse" >> beam.FlatMap(_parse)
        unique = events | DeduplicatePerKey(processing_time_duration=7 * 86_400)
        unique | "Insert" >> beam.ParDo(_Insert(sink))
    return stored(sink) - before
