"""`sluice demo`: the main job, shown."""

import sys

import click

from runners.commands.common import documented, typed_failures


@click.command(
    **documented("Show all of it in a minute: generate a day, ingest it twice, query it, audit it.", "sluice demo --events 200000")
)
@click.option("--events", default=200_000, show_default=True, help="How many events to generate.")
@click.option("--keep", type=click.Path(), help="A folder to keep the data and the tables in.")
@typed_failures
def demo(events: int, keep: str | None) -> None:
    """Run the demonstration."""
    from runners.demo import run_demo

    if not run_demo(events, keep):
        sys.exit(1)
