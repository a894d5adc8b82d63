"""`sluice migrate`: the tables, made or brought up to date."""

import click

from runners.commands.common import JSON, SINK, documented, print_json, say, typed_failures


@click.command(**documented("Create the tables, or bring them up to date.", "sluice migrate --sink clickhouse://localhost:9000/default"))
@SINK
@click.option(
    "--durability",
    type=click.Choice(["none", "fsync"]),
    help="Whether each insert is on the disk before it is acknowledged, so that it survives a power cut. [default: as it is]",
)
@JSON
@typed_failures
def migrate(sink: str, durability: str | None, as_json: bool) -> None:
    """Apply the schema's migrations."""
    from rich.console import Console
    from rich.progress import Progress

    from transforms.io.clickhouse import shared
    from transforms.io.durability import Durability, set_durability
    from transforms.io.migrate import migrate as apply_migrations

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("migrating", total=None)
        steps = apply_migrations(shared(sink), lambda what, done, total: bars.update(task, description=what, completed=done, total=total))
    if durability:
        set_durability(shared(sink), Durability(durability))
    applied = [f"{step.version:04d}_{step.name}" for step in steps]
    if as_json:
        print_json({"applied": applied})
    else:
        say("\n".join(f"applied {name}" for name in applied) or "up to date")
