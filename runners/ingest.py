"""Run the main job: launch it, show its progress on a terminal, and sum up what it did."""

import gc
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from uuid import UUID

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.ingest import ingest, prepare
from runners.local import runner
from runners.results import Summary, cpu_seconds, reasons, summarize
from transforms.io.clickhouse import shared
from transforms.metrics import Metric, progress

REFRESH = 0.25  # seconds


def run_ingest(options: PipelineOptions, console: Console) -> tuple[UUID, Summary]:
    """Run the job to its end; return the run and what became of its events.

    Args:
        options: those of IngestOptions, and any of Beam's.
        console: where progress goes, if it is a terminal.

    Raises:
        ConfigError: the job is refused.
        Unavailable: the sink does not answer.
    """
    began, cpu = monotonic(), cpu_seconds()
    job = prepare(options)
    pipeline = beam.Pipeline(runner=runner(options), options=options)
    ingest(pipeline, job)
    with _progress(console, job.bytes), _rare_collections():
        pipeline.run().wait_until_finish()
    return job.run, summarize(shared(job.sink), job.run, monotonic() - began, cpu_seconds() - cpu)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Let Python look for cycles seldom: events make none, but tens of thousands of objects that live as long as a block of rows."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _progress(console: Console, total: int) -> Iterator[None]:
    """Show what this process has counted since, if the console is a terminal."""
    if not console.is_terminal:
        yield
        return
    before = progress.copy()
    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    stop = Event()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=total)
        began = monotonic()

        def show() -> None:
            while not stop.wait(REFRESH):
                now = {metric: progress[metric] - before[metric] for metric in Metric}
                bars.update(task, completed=now[Metric.BYTES_READ], description=_line(now, monotonic() - began))

        thread = Thread(target=show, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _line(now: dict[Metric, int], seconds: float) -> str:
    received = now[Metric.EVENTS_RECEIVED]
    return (
        f"{received:,} events, {received / seconds:,.0f}/s: {now[Metric.EVENTS_STORED]:,} stored,"
        f" {now[Metric.EVENTS_DUPLICATED]:,} duplicate, {now[Metric.EVENTS_LIMITED]:,} limited,"
        f" {now[Metric.EVENTS_REJECTED]:,} rejected"
    )


def show_summary(console: Console, sink: str, run: UUID, summary: Summary) -> None:
    """Print a table of what became of the events."""
    table = Table("outcome", "reason", "events", title=f"run {run}")
    for name in ("received", "stored", "duplicate"):
        table.add_row(name, "", f"{getattr(summary, name):,}")
    for outcome, reason, events in reasons(shared(sink), run):
        table.add_row(outcome, reason, f"{events:,}")
    for column in table.columns[2:]:
        column.justify = "right"
    console.print(table)
    console.print(
        f"{summary.seconds:.1f} s, {summary.events_per_second:,.0f} events/s,"
        f" {summary.cpu_us_per_event:.1f} us of CPU an event, {summary.warnings:,} warnings for customers"
    )


def show_next_steps(console: Console, sink: str, summary: Summary) -> None:
    """Print where to look next."""
    steps = ["audit", "query {} 'SELECT event, count() FROM events_unique GROUP BY event'"]
    if summary.rejected:
        steps.append("query {} 'SELECT reason, detail FROM dead_letters LIMIT 10'")
    for number, step in enumerate(steps):
        where = f"--sink {shlex.quote(shared(sink).where)}"
        command = step.format(where) if "{}" in step else f"{step} {where}"
        console.print(f"{'      ' if number else 'Next: '}sluice {command}", highlight=False, markup=False, soft_wrap=True)
