"""`sluice squash`: past events get the person of now."""

import click

from runners.commands.common import JSON, SINK, documented, existing, print_json, say, typed_failures


@click.command(
    **documented(
        "Give events the person of now where a merge came later than they did. Safe beside a running ingest, and to run again.",
        "sluice squash --sink chdb:db --dry-run",
    )
)
@SINK
@click.option("--dry-run", is_flag=True, help="Only count what would be rewritten.")
@JSON
@typed_failures
def squash(sink: str, dry_run: bool, as_json: bool) -> None:
    """Rewrite the persons of events."""
    from rich.console import Console
    from rich.progress import Progress

    from pipelines.squash import squash as run_squash
    from transforms.io.migrate import require_schema

    client = existing(sink)
    require_schema(client)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("squashing", total=None)
        summary = run_squash(client, dry_run, lambda done, total: bars.update(task, completed=done, total=total))
    if as_json:
        print_json(summary)
    else:
        would = "would be rewritten" if dry_run else "rewritten"
        say(f"{summary.rows:,} events of {summary.distinct_ids:,} distinct ids {would}, in {summary.seconds:.1f} s")
        say(f"{summary.partitions:,} partitions, {summary.skipped:,} of them unchanged since they were squashed")
