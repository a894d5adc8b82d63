"""What the commands share: options, exit codes, and how results are shown."""

import sys
from collections.abc import Callable
from functools import wraps
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import click

from runners.options import with_file
from schemas.errors import ConfigError, SluiceError
from transforms.printable import printable_json, printable_lines

if TYPE_CHECKING:
    from transforms.io.clickhouse import Client

PASS_THROUGH: dict[str, Any] = {"ignore_unknown_options": True, "allow_extra_args": True}  # options that are Beam's

SINK = click.option(
    "--sink",
    required=True,
    help="chdb:PATH, or clickhouse://user@host:port/database?password_env=VARIABLE&secure=true (or password_file=PATH)",
)
BEAM_OPTIONS = click.argument("beam_options", nargs=-1, type=click.UNPROCESSED, callback=with_file)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line of standard output.")


def typed_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that users can do something about into one message and an exit code: 1, or 2 for a ConfigError."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ConfigError as error:
            say(f"sluice: {error}", err=True)
            sys.exit(2)
        except SluiceError as error:
            say(f"sluice: {error}", err=True)
            sys.exit(1)

    return wrapped


def documented(text: str, example: str) -> dict[str, Any]:
    """Return a command's help and its example."""
    return {"help": text, "epilog": f"Example: {example}"}


def say(text: str, err: bool = False) -> None:
    """Print a text to read, without what a terminal would obey: names and ids in it are strangers'."""
    click.echo(printable_lines(text), err=err)


def print_json(value: Any) -> None:
    """Print a record as a line of JSON."""
    import json

    import msgspec

    click.echo(printable_json(json.dumps(msgspec.to_builtins(value), ensure_ascii=False, separators=(",", ":"))))


def existing(sink: str) -> "Client":
    """Return the client of a sink that has tables.

    Raises:
        ConfigError: it has none.
    """
    from transforms.io.clickhouse import shared
    from transforms.io.migrate import schema_version

    client = shared(sink)
    if not schema_version(client):
        raise ConfigError(f"{client.where} has no tables", "run `sluice ingest` or `sluice migrate` first, and check --sink")
    return client


def with_runner_defaults(beam_options: list[str]) -> list[str]:
    """Return Beam's options, with what the runner that they name needs besides."""
    from runners import dataflow, flink
    from runners.defaults import completed, names

    runner = next((option.partition("=")[2] for option in beam_options if option.startswith("--runner=")), "")
    if runner == "FlinkRunner":
        return completed(beam_options, flink.DEFAULTS)
    if runner == "DataflowRunner":
        if missing := [f"--{name}" for name in dataflow.NEEDED if name not in names(beam_options)]:
            raise ConfigError(f"Dataflow needs {', '.join(missing)}", "see docs/operations.md")
        if find_spec("google.cloud.dataflow") is None:
            raise ConfigError("Dataflow needs Google's libraries, which are not installed", "pip install 'sluice[gcp]'")
        return completed(beam_options, dataflow.DEFAULTS)
    return beam_options
