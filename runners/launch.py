"""A job's graph in; run to its end, with its progress on a terminal, and what became of its events out."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from pipelines.store import Store
from runners.local import runner
from runners.results import Summary, cpu_seconds, summarize
from runners.tuning import tuned
from transforms.io.clickhouse import shared
from transforms.metrics import Metric, progress

REFRESH = 0.25  # seconds


class Bar(NamedTuple):
    """A progress bar of a job: how much there is to do, what counts it, and how that is shown."""

    total: int
    metric: Metric
    column: ProgressColumn


def bytes_read(total: int) -> Bar:
    """Return a bar of bytes."""
    return Bar(total, Metric.BYTES_READ, DownloadColumn())


def messages_parsed(total: int) -> Bar:
    """Return a bar of messages."""
    return Bar(total, Metric.MESSAGES_PARSED, MofNCompleteColumn())


def launch(build: Callable[[beam.Pipeline], None], store: Store, options: PipelineOptions, console: Console, bar: Bar) -> Summary:
    """Run a job to its end; return what became of its events.

    Args:
        build: adds the job's graph to a pipeline.
        store: where it stores them.
        options: Beam's.
        console: where progress goes, if it is a terminal.
        bar: what is shown there.
    """
    began, cpu = monotonic(), cpu_seconds()
    pipeline = beam.Pipeline(runner=runner(options), options=options)
    build(pipeline)
    try:
        with _progress(console, bar), tuned():
            pipeline.run().wait_until_finish()
    finally:
        shutil.rmtree(pipeline.local_tempdir, ignore_errors=True)  # as Beam does at the end of its own `with`
    return summarize(shared(store.sink), store.run, monotonic() - began, cpu_seconds() - cpu)


@contextmanager
def _progress(console: Console, bar: Bar) -> Iterator[None]:
    """Show what this process has counted since, if the console is a terminal."""
    if not console.is_terminal:
        yield
        return
    before = progress.copy()
    columns = (BarColumn(), bar.column, TextColumn("{task.description}"), TimeRemainingColumn())
    stop = Event()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("starting", total=bar.total)
        began = monotonic()

        def show() -> None:
            while not stop.wait(REFRESH):
                now = {metric: progress[metric] - before[metric] for metric in Metric}
                bars.update(task, completed=now[bar.metric], description=_line(now, monotonic() - began))

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
