"""`sluice generate`: a load with known truth."""

from typing import Any

import click

from runners.commands.common import JSON, documented, print_json, say, typed_failures


@click.command(
    **documented(
        "Write a realistic load with known truth: JSON lines, Avro or Parquet, and the registry of its teams.",
        "sluice generate --events 1000000 --out events --truth truth.jsonl",
    )
)
@click.option("--events", required=True, type=int, help="How many; a message that cannot be taken apart counts as one.")
@click.option("--out", required=True, type=click.Path(), help="The folder to write to.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same bytes.")
@click.option("--shape", default="captured", show_default=True, help="captured, event, batch, or http (request bodies, in Avro).")
@click.option("--format", "file_format", default="lines", show_default=True, help="lines, avro or parquet.")
@click.option("--compression", default="none", show_default=True, help="none, gzip or zstd.")
@click.option("--duplicates", default=0.01, show_default=True, help="Share of events that are sent again.")
@click.option("--invalid", default=0.002, show_default=True, help="Share of events that must be rejected.")
@click.option("--late", default=None, type=float, help="Share of events that happened minutes to days before they arrived.")
@click.option("--teams", default=100, show_default=True, help="How many teams; their sizes follow Zipf's law.")
@click.option("--files", type=int, help="How many files.")
@click.option("--start", default=None, help="First day of arrival, as 2026-11-01.")
@click.option("--days", default=1, show_default=True, help="Days of arrival.")
@click.option("--truth", type=click.Path(), help="A file for the expected outcome of each event.")
@JSON
@typed_failures
def generate(as_json: bool, file_format: str, **plan: Any) -> None:
    """Generate a load."""
    from rich.console import Console
    from rich.progress import Progress

    from pipelines.generate import Plan
    from pipelines.generate import generate as run_generate

    given = {name: value for name, value in plan.items() if value is not None}
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("generating", total=plan["events"])
        summary = run_generate(Plan(format=file_format, **given), lambda done: bars.update(task, completed=done))
    if as_json:
        print_json(summary)
    else:
        say(f"{summary.events:,} events in {summary.messages:,} messages, {summary.bytes:,} bytes, {len(summary.files)} files")
        say(f"Next: sluice ingest --source {plan['out']} --sink chdb:db --teams {summary.teams}")
