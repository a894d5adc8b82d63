"""Sluice, as `sluice ingest` runs it on files."""

from collections.abc import Iterator
from contextlib import contextmanager

from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from benchmarks.rows import Job, Load
from benchmarks.rows.clickhouse import stored
from runners.ingest import run_ingest
from transforms.io.clickhouse import shared
from transforms.io.migrate import migrate


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = f"chdb:{folder}"
    migrate(shared(sink))  # as for the other rows
    options = PipelineOptions([], source=load.files, sink=sink, teams=load.teams)
    yield Job(lambda: run_ingest(options, Console(stderr=True, force_terminal=False)), lambda: stored(sink))
