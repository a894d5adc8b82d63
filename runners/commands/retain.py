"""`sluice retain`: old days are dropped from all tables together."""

from typing import Any

import click

from runners.commands.common import JSON, SINK, documented, existing, print_json, typed_failures


@click.command(
    **documented(
        "Drop what arrived before a day from all tables together, for good: it is refused when it comes again. `audit` goes on to balance."
        " Facts about persons and groups stay. Safe beside running jobs, and to run again: a scheduler's job, daily.",
        "sluice retain --sink chdb:db --months 13 --dry-run",
    )
)
@SINK
@click.option("--months", type=int, help="Keep the current month and so many whole ones before it.")
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), help="Or: the first day that is kept, UTC, 8 days ago at the latest.")
@click.option("--dry-run", is_flag=True, help="Only count what would be removed.")
@JSON
@typed_failures
def retain(sink: str, months: int | None, before: Any, dry_run: bool, as_json: bool) -> None:
    """Drop old days."""
    from rich.console import Console

    from pipelines.retain import first_kept
    from pipelines.retain import retain as run_retain
    from transforms.io.migrate import require_schema

    client = existing(sink)
    require_schema(client)
    first = first_kept(client, months, before and before.date())
    console = Console(stderr=True)
    with console.status("looking") as status:
        summary = run_retain(client, first, dry_run, lambda table: status.update(table))
    if as_json:
        print_json(summary)
        return
    for table, rows in summary.rows.items():
        click.echo(f"{rows:>14,}  {table}")
    did = "would be removed" if dry_run else "were removed"
    click.echo(f"{sum(summary.rows.values()):>14,}  rows {did}: what arrived before {summary.before}, in {summary.seconds:.1f} s")
