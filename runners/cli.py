"""The `sluice` command. Exit codes: 0 done, 1 failed or not balanced, 2 wrong usage or configuration."""

import logging
import sys
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from schemas.errors import ConfigError, SluiceError

if TYPE_CHECKING:
    from transforms.io.clickhouse import Client

PASS_THROUGH = {"ignore_unknown_options": True, "allow_extra_args": True}


def _typed_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Turn the errors that users can do something about into one message and an exit code."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ConfigError as error:
            click.echo(f"sluice: {error}", err=True)
            sys.exit(2)
        except SluiceError as error:
            click.echo(f"sluice: {error}", err=True)
            sys.exit(1)

    return wrapped


def _with_defaults(beam_options: list[str]) -> list[str]:
    """Return Beam's options, with what the runner that they name needs besides."""
    from runners import dataflow, flink
    from runners.defaults import completed, names

    runner = next((option.partition("=")[2] for option in beam_options if option.startswith("--runner=")), "")
    if runner == "FlinkRunner":
        return completed(beam_options, flink.DEFAULTS)
    if runner == "DataflowRunner":
        if missing := [f"--{name}" for name in dataflow.NEEDED if name not in names(beam_options)]:
            raise ConfigError(f"Dataflow needs {', '.join(missing)}", "see docs/operations.md")
        return completed(beam_options, dataflow.DEFAULTS)
    return beam_options


def _help(text: str, example: str) -> dict[str, str]:
    return {"help": text, "epilog": f"Example: {example}"}


def _json(value: Any) -> None:
    import msgspec

    click.echo(msgspec.json.encode(value).decode())


SINK = click.option("--sink", required=True, help="chdb:PATH, or clickhouse://user:password@host:port/database?secure=true")
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object as the last line of standard output.")


def _configure_logging() -> None:
    """Log warnings to standard error."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


@click.group()
@click.version_option(package_name="sluice")
def main() -> None:
    """Take raw product-analytics events to correct ClickHouse tables, and prove that none is missing."""
    _configure_logging()


def _existing(sink: str) -> "Client":
    """Return the client of a sink that has tables."""
    from transforms.io.clickhouse import shared
    from transforms.io.migrate import schema_version

    client = shared(sink)
    if not schema_version(client):
        raise ConfigError(f"{client.where} has no tables", "run `sluice ingest` or `sluice migrate` first, and check --sink")
    return client


@main.command(
    context_settings=PASS_THROUGH,
    **_help(
        "Read events, and store each once. Options that are not listed go to Beam (--runner, --direct_runner_bundle_repeat, ...).",
        "sluice ingest --source 'events/*.jsonl.gz' --sink chdb:db --teams events/teams.toml",
    ),
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    required=True,
    help="Files or folders, globs too; or kafka://host:port/topic?group=NAME, pubsub://project/subscription. May be given more than once.",
)
@SINK
@click.option("--teams", help="The team registry's file, or open: the default with chdb:.")
@click.option("--shards", type=int, help="Shards of ids: a power of two up to 256.  [default: 1 with chdb:, else 16]")
@click.option("--allow-empty", is_flag=True, help="Do not refuse a source that matches no file.")
@click.option("--health-port", type=int, help="Of a stream: answer /healthz, /readyz and /metrics (Prometheus) on this port; 0 for any.")
@JSON
@click.argument("beam_options", nargs=-1, type=click.UNPROCESSED)
@_typed_failures
def ingest(
    sources: tuple[str, ...],
    sink: str,
    teams: str | None,
    shards: int,
    allow_empty: bool,
    health_port: int | None,
    as_json: bool,
    beam_options: tuple[str, ...],
) -> None:
    """Run the main job."""
    from rich.console import Console

    ours = {"source": list(sources), "sink": sink, "teams": teams, "shards": shards, "allow_empty": allow_empty}
    console = Console(stderr=True)
    is_stream = any(source.startswith(("kafka://", "pubsub://")) for source in sources)
    if is_stream and not any(option.startswith("--runner") for option in beam_options):
        from runners.supervisor import supervise

        code, totals = supervise(ours, list(beam_options), console, health_port)
        if as_json:
            _json(totals)
        sys.exit(code)

    from apache_beam.options.pipeline_options import PipelineOptions

    from runners.ingest import run_ingest, show_next_steps, show_summary

    run, summary = run_ingest(PipelineOptions(_with_defaults(list(beam_options)), **ours), console)
    if as_json:
        _json(summary)
    else:
        show_summary(Console(), sink, run, summary)
        show_next_steps(Console(), sink, summary)


@main.command(
    **_help(
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
@_typed_failures
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
        _json(summary)
    else:
        click.echo(f"{summary.events:,} events in {summary.messages:,} messages, {summary.bytes:,} bytes, {len(summary.files)} files")
        click.echo(f"Next: sluice ingest --source {plan['out']} --sink chdb:db --teams {summary.teams}")


@main.command(**_help("Show all of it in a minute: generate a day, ingest it twice, query it, audit it.", "sluice demo --events 200000"))
@click.option("--events", default=200_000, show_default=True, help="How many events to generate.")
@click.option("--keep", type=click.Path(), help="A folder to keep the data and the tables in.")
@_typed_failures
def demo(events: int, keep: str | None) -> None:
    """Run the demonstration."""
    from runners.demo import run_demo

    if not run_demo(events, keep):
        sys.exit(1)


@main.command(**_help("Create the tables, or bring them up to date.", "sluice migrate --sink clickhouse://localhost:9000/default"))
@SINK
@JSON
@_typed_failures
def migrate(sink: str, as_json: bool) -> None:
    """Apply the schema's migrations."""
    from transforms.io.clickhouse import shared
    from transforms.io.migrate import migrate as apply_migrations

    applied = [f"{step.version:04d}_{step.name}" for step in apply_migrations(shared(sink))]
    if as_json:
        _json({"applied": applied})
    else:
        click.echo("\n".join(f"applied {name}" for name in applied) or "up to date")


@main.command(**_help("Run a query and print its result.", 'sluice query --sink chdb:db "SELECT count() FROM events_unique"'))
@SINK
@click.option("--format", "output_format", default="TSV", show_default=True, help="One of ClickHouse's format names.")
@click.argument("sql")
@_typed_failures
def query(sink: str, output_format: str, sql: str) -> None:
    """Run a query."""
    from transforms.io.clickhouse import shared

    sys.stdout.buffer.write(shared(sink).formatted(sql, output_format))


@main.command(
    **_help(
        "Give events the person of now where a merge came later than they did. Safe beside a running ingest, and to run again.",
        "sluice squash --sink chdb:db --dry-run",
    )
)
@SINK
@click.option("--dry-run", is_flag=True, help="Only count what would be rewritten.")
@JSON
@_typed_failures
def squash(sink: str, dry_run: bool, as_json: bool) -> None:
    """Rewrite the persons of events."""
    from rich.console import Console
    from rich.progress import Progress

    from pipelines.squash import squash as run_squash
    from transforms.io.migrate import require_schema

    client = _existing(sink)
    require_schema(client)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("squashing", total=None)
        summary = run_squash(client, dry_run, lambda done, total: bars.update(task, completed=done, total=total))
    if as_json:
        _json(summary)
    else:
        would = "would be rewritten" if dry_run else "rewritten"
        click.echo(f"{summary.rows:,} events of {summary.distinct_ids:,} distinct ids {would}, in {summary.seconds:.1f} s")
        click.echo(f"{summary.partitions:,} partitions, {summary.skipped:,} of them unchanged since they were squashed")


@main.command(
    **_help(
        "Send messages to a topic: those of files, or generated ones, at a rate.",
        "sluice produce --events 100000 --rate 5000 --to kafka://127.0.0.1:9092/events",
    )
)
@click.option("--to", required=True, help="kafka://host:port/topic or pubsub://project/topic.")
@click.option("--from", "files", multiple=True, help="Files or folders, globs too; may be given more than once.")
@click.option("--events", type=int, help="How many to generate; see sluice generate.")
@click.option("--seed", default=1, show_default=True, help="Of what is generated.")
@click.option("--rate", type=float, help="Messages a second.  [default: as fast as it goes]")
@JSON
@_typed_failures
def produce(to: str, files: tuple[str, ...], events: int | None, seed: int, rate: float | None, as_json: bool) -> None:
    """Send messages."""
    from tempfile import TemporaryDirectory

    from rich.console import Console
    from rich.progress import Progress

    from pipelines.generate import Plan, generate
    from pipelines.produce import messages_of, open_topic
    from pipelines.produce import produce as run_produce

    if bool(files) == bool(events):
        raise ConfigError("produce takes either --from or --events", "as in --events 100000")
    if rate is not None and rate <= 0:
        raise ConfigError(f"--rate is {rate:g}", "it is a number of messages a second, more than 0")
    console = Console(stderr=True)
    topic = open_topic(to)
    with TemporaryDirectory(prefix="sluice-") as folder, Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        if events:
            generate(Plan(events=events, out=folder, seed=seed))
            files = (folder,)
        task = bars.add_task("producing", total=events)
        produced = run_produce(messages_of(files), topic, rate, lambda sent: bars.update(task, completed=sent))
    if as_json:
        _json(produced)
    else:
        click.echo(f"{produced.sent:,} messages sent in {produced.seconds:.1f} s, {produced.refused:,} refused: too large for the broker")


@main.command(
    **_help(
        "Prove from the tables that every event of every receipt ended in one outcome and is still there; exit 1 if not.",
        "sluice audit --sink chdb:db --since 2026-11-01 --team 3",
    )
)
@SINK
@click.option("--since", type=click.DateTime(), help="First hour of arrival, UTC.")
@click.option("--until", type=click.DateTime(), help="Hour of arrival to stop before, UTC.")
@click.option("--team", type=int, help="One team's id.")
@click.option("--grace", type=int, help="Seconds that a receipt may be open before it is a difference. [default: 0; 3600 with a server]")
@JSON
@_typed_failures
def audit(sink: str, since: Any, until: Any, team: int | None, grace: int | None, as_json: bool) -> None:
    """Audit the ledger."""
    from datetime import UTC

    from pipelines.audit import Scope
    from pipelines.audit import audit as run_audit

    client = _existing(sink)
    first, last = (None if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) for moment in (since, until))
    result = run_audit(client, Scope(first, last, team, grace if grace is not None else 0 if client.embedded else 3600))
    if as_json:
        _json(result)
    else:
        for name in ("received", "stored", "duplicate", "limited", "rejected", "in_flight"):
            click.echo(f"{name:>10}  {getattr(result, name):,}")
        for difference in result.differences:
            click.echo(f"difference: {difference}")
        click.echo("balanced" if result.balanced else f"NOT balanced: {len(result.differences)} differences")
    if not result.balanced:
        sys.exit(1)
