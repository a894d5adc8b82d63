"""`sluice compact`: one row an id is left in `events`."""

import sys

import click

from runners.commands.common import JSON, SINK, documented, existing, print_json, say, typed_failures


@click.command(
    **documented(
        "Remove the doubles of events: of the rows of one id the first stored stays. Cheap when there are none, safe beside a running"
        " ingest, and to run again: a scheduler's job, hourly or more often. Exit 1 if the promise of unique ids is in danger.",
        "sluice compact --sink chdb:db --dry-run",
    )
)
@SINK
@click.option(
    "--full", is_flag=True, help="Look at all that arrived in the last 8 days, and not only at what is new. [default: once a day]"
)
@click.option(
    "--forget-lost",
    is_flag=True,
    help="First forget the ids of rows that are gone from events, by accident: so that their source can be ingested again.",
)
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@JSON
@typed_failures
def compact(sink: str, full: bool, forget_lost: bool, dry_run: bool, as_json: bool) -> None:
    """Remove doubles."""
    from rich.console import Console
    from rich.progress import Progress

    from pipelines.compact import compact as run_compact
    from transforms.io.migrate import require_schema

    client = existing(sink)
    require_schema(client)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("looking for doubles", total=None)
        summary = run_compact(client, full, dry_run, lambda done, total: bars.update(task, completed=done, total=total), forget_lost)
    if as_json:
        print_json(summary)
    else:
        if forget_lost:
            click.echo(f"{summary.forgotten:,} ids {'would be ' if dry_run else ''}forgotten: their rows are gone")
        would = "would be removed" if dry_run else f"found, {summary.removed:,} rows removed"
        what = "of the last days" if summary.full else "that were new"
        say(f"{summary.found:,} doubles {would}, among {summary.rows:,} ids {what}, in {summary.seconds:.1f} s")
        for cause, count in summary.causes.items():
            say(f"{cause:>12}  {count:,}")
    for alarm in summary.alarms:
        say(f"sluice: {alarm}", err=True)
    if summary.alarms:
        sys.exit(1)
