"""`sluice migrate`: the tables, made or brought up to date."""

import click

from runners.commands.common import JSON, SINK, documented, print_json, say, typed_failures


@click.command(**documented("Create the tables, or bring them up to date.", "sluice migrate --sink clickhouse://localhost:9000/default"))
@SINK
@JSON
@typed_failures
def migrate(sink: str, as_json: bool) -> None:
    """Apply the schema's migrations."""
    from transforms.io.clickhouse import shared
    from transforms.io.migrate import migrate as apply_migrations

    applied = [f"{step.version:04d}_{step.name}" for step in apply_migrations(shared(sink))]
    if as_json:
        print_json({"applied": applied})
    else:
        say("\n".join(f"applied {name}" for name in applied) or "up to date")
