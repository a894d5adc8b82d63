"""Run the main job: launch it, show its progress on a terminal, and sum up what it did."""

import shlex
from uuid import UUID

from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.table import Table

from pipelines.ingest import ingest, prepare
from runners.launch import bytes_read, launch
from runners.results import Summary, reasons, refused
from transforms.io.clickhouse import shared


def run_ingest(options: PipelineOptions, console: Console) -> tuple[UUID, Summary]:
    """Run the job to its end; return the run and what became of its events.

    Args:
        options: those of StoreOptions and IngestOptions, and any of Beam's.
        console: where progress goes, if it is a terminal.

    Raises:
        ConfigError: the job is refused.
        Unavailable: the sink does not answer.
    """
    job = prepare(options)
    summary = launch(lambda pipeline: ingest(pipeline, job), job.store, options, console, bytes_read(job.bytes))
    return job.store.run, summary


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
    if warning := refused(shared(sink), run):
        console.print(f"Warning: {warning}", highlight=False, markup=False)


def show_next_steps(console: Console, sink: str, summary: Summary) -> None:
    """Print where to look next."""
    steps = ["audit", "query {} 'SELECT event, count() FROM events_unique GROUP BY event'"]
    if summary.rejected:
        steps.append("letters")
    for number, step in enumerate(steps):
        where = f"--sink {shlex.quote(shared(sink).where)}"
        command = step.format(where) if "{}" in step else f"{step} {where}"
        console.print(f"{'      ' if number else 'Next: '}sluice {command}", highlight=False, markup=False, soft_wrap=True)
