"""`sluice ingest`: the main job, of files in this process, of streams under a supervisor, or on the runner that is named."""

import sys

import click

from runners.commands.common import BEAM_OPTIONS, JSON, PASS_THROUGH, SINK, documented, print_json, typed_failures, with_runner_defaults


@click.command(
    context_settings=PASS_THROUGH,
    **documented(
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
@click.option("--health-host", default="127.0.0.1", show_default=True, help="The address that it listens on; 0.0.0.0 for all.")
@click.option(
    "--heartbeat-timeout",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    help="Of a stream: seconds without a word after which a worker is killed and another started; 0 for never.",
)
@click.option(
    "--progress-timeout",
    type=click.FloatRange(min=0),
    default=120.0,
    show_default=True,
    help="The same, for a worker that has something to do and does not come on. Waiting for ClickHouse does not count.",
)
@click.option("--allow-open-ports", is_flag=True, help="Of a stream: start even where others can reach the ports of Beam's runner.")
@JSON
@BEAM_OPTIONS
@typed_failures
def ingest(
    sources: tuple[str, ...],
    sink: str,
    teams: str | None,
    shards: int,
    allow_empty: bool,
    health_port: int | None,
    health_host: str,
    heartbeat_timeout: float,
    progress_timeout: float,
    allow_open_ports: bool,
    as_json: bool,
    beam_options: tuple[str, ...],
) -> None:
    """Run the main job."""
    from rich.console import Console

    ours = {"source": list(sources), "sink": sink, "teams": teams, "shards": shards, "allow_empty": allow_empty}
    console = Console(stderr=True)
    is_stream = any(source.startswith(("kafka://", "pubsub://")) for source in sources)
    if is_stream and not any(option.startswith("--runner") for option in beam_options):
        from runners.supervisor import Timeouts, supervise

        ours["allow_open_ports"] = allow_open_ports
        timeouts = Timeouts(heartbeat_timeout, progress_timeout)
        code, totals = supervise(ours, list(beam_options), console, health_port, health_host, timeouts)
        if as_json:
            print_json(totals)
        sys.exit(code)

    from apache_beam.options.pipeline_options import PipelineOptions

    from runners.ingest import run_ingest, show_next_steps, show_summary

    run, summary = run_ingest(PipelineOptions(with_runner_defaults(list(beam_options)), **ours), console)
    if as_json:
        print_json(summary)
    else:
        show_summary(Console(), sink, run, summary)
        show_next_steps(Console(), sink, summary)
