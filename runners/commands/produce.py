"""`sluice produce`: messages onto a topic."""

import click

from runners.commands.common import JSON, documented, print_json, say, typed_failures
from schemas.errors import ConfigError


@click.command(
    **documented(
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
@typed_failures
def produce(to: str, files: tuple[str, ...], events: int | None, seed: int, rate: float | None, as_json: bool) -> None:
    """Send messages."""
    from tempfile import TemporaryDirectory

    from rich.console import Console
    from rich.progress import Progress

    from pipelines.generate import Plan, generate, yesterday
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
            generate(Plan(events=events, out=folder, seed=seed, start=yesterday()))
            files = (folder,)
        task = bars.add_task("producing", total=events)
        produced = run_produce(messages_of(files), topic, rate, lambda sent: bars.update(task, completed=sent))
    if as_json:
        print_json(produced)
    else:
        say(f"{produced.sent:,} messages sent in {produced.seconds:.1f} s, {produced.refused:,} refused: too large for the broker")
