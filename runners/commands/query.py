"""`sluice query`: a query and its result."""

import sys

import click

from runners.commands.common import SINK, documented, say, typed_failures


@click.command(**documented("Run a query and print its result.", 'sluice query --sink chdb:db "SELECT count() FROM events_unique"'))
@SINK
@click.option("--format", "output_format", default="TSV", show_default=True, help="One of ClickHouse's format names.")
@click.argument("sql")
@typed_failures
def query(sink: str, output_format: str, sql: str) -> None:
    """Run a query."""
    from transforms.io.clickhouse import shared

    result = shared(sink).formatted(sql, output_format)
    if sys.stdout.isatty():
        say(result.decode(errors="backslashreplace").removesuffix("\n"))
    else:
        sys.stdout.buffer.write(result)  # as it is: for other programs
