"""Run a replay: launch it, show its progress on a terminal, and sum up what it did."""

from uuid import UUID

import msgspec
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from rich.table import Table

from pipelines.replay import prepare, replay
from pipelines.store import StoreOptions
from runners.launch import launch, messages_parsed
from runners.results import reasons, refused
from transforms.io.clickhouse import shared
from transforms.io.letters import Selection


class Replayed(msgspec.Struct, frozen=True):
    """What became of a replay: letters that were selected, and the events that they became."""

    selected: int
    received: int = 0
    stored: int = 0
    duplicate: int = 0
    limited: int = 0
    rejected: int = 0
    seconds: float = 0.0


def run_replay(options: PipelineOptions, selection: Selection, rate: float | None, console: Console) -> tuple[UUID, Replayed]:
    """Replay letters; return the run and what became of them. Without any, nothing is started.

    Args:
        options: those of StoreOptions, and any of Beam's.
        selection: which letters.
        rate: letters a second, or None.
        console: where progress goes, if it is a terminal.

    Raises:
        ConfigError: the job is refused.
        Unavailable: the sink does not answer.
    """
    job = prepare(options, selection, rate)
    if not job.pages:
        return job.store.run, Replayed(0)
    done = launch(lambda pipeline: replay(pipeline, job), job.store, options, console, messages_parsed(job.selected))
    return job.store.run, Replayed(job.selected, done.received, done.stored, done.duplicate, done.limited, done.rejected, done.seconds)


def show_replayed(console: Console, options: PipelineOptions, run: UUID, replayed: Replayed) -> None:
    """Print a table of what became of the letters."""
    table = Table("letters and events", "reason", "count", title=f"run {run}")
    for name in ("selected", "received", "stored", "duplicate"):
        table.add_row(name, "", f"{getattr(replayed, name):,}")
    for outcome, reason, events in reasons(shared(options.view_as(StoreOptions).sink), run):
        table.add_row(f"{outcome} again" if outcome == "rejected" else outcome, reason, f"{events:,}")
    table.columns[2].justify = "right"
    console.print(table)
    console.print(f"{replayed.seconds:.1f} s", highlight=False)
    if warning := refused(shared(options.view_as(StoreOptions).sink), run):
        console.print(f"Warning: {warning}", highlight=False, markup=False)
