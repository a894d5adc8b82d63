"""`sluice replay`: dead letters, tried again."""

from typing import TYPE_CHECKING, Any

import click

from runners.commands.common import (
    BEAM_OPTIONS,
    JSON,
    PASS_THROUGH,
    SINK,
    documented,
    print_json,
    say,
    typed_failures,
    with_runner_defaults,
)
from runners.commands.letters import filtered, print_letters, screen_width, selection_of
from schemas.errors import ConfigError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from rich.console import Console

    from transforms.io.letters import Selection

SAMPLES = 3


@click.command(
    context_settings=PASS_THROUGH,
    **documented(
        "Try dead letters again: those that wait, and pass all filters. Safe to run again, and beside anything."
        " Options that are not listed go to Beam.",
        "sluice replay --sink chdb:db --teams teams.toml --reason unknown_token --dry-run",
    ),
)
@SINK
@click.option("--teams", help="The team registry's file, or open: the default with chdb:.")
@click.option("--shards", type=int, help="Shards of ids: a power of two up to 256.  [default: 1 with chdb:, else 16]")
@filtered
@click.option("--limit", type=int, help="So many letters at most, those of the oldest day first.")
@click.option("--rate", type=float, help="Letters a second.  [default: as fast as it goes]")
@click.option("--dry-run", is_flag=True, help="Only say what would happen, and show three of the letters, cut to the screen's width.")
@JSON
@BEAM_OPTIONS
@typed_failures
def replay(
    sink: str,
    teams: str | None,
    shards: int | None,
    limit: int | None,
    rate: float | None,
    dry_run: bool,
    as_json: bool,
    beam_options: tuple[str, ...],
    **filters: Any,
) -> None:
    """Replay dead letters."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from rich.console import Console

    if rate is not None and rate <= 0:
        raise ConfigError(f"--rate is {rate:g}", "it is a number of letters a second, more than 0")
    if "unreadable_file" in filters["reasons"]:
        raise ConfigError("--reason unreadable_file cannot be replayed: that is no message", "repair the file, and ingest it again")
    selection = selection_of(limit, **filters)
    options = PipelineOptions(with_runner_defaults(list(beam_options)), sink=sink, teams=teams, shards=shards)
    console = Console(stderr=True)
    if dry_run:
        _foresee(options, sink, selection, console, as_json)
    else:
        _replay(options, selection, rate, console, as_json)


def _replay(options: "PipelineOptions", selection: "Selection", rate: float | None, console: "Console", as_json: bool) -> None:
    from rich.console import Console

    from runners.replay import run_replay, show_replayed

    run, replayed = run_replay(options, selection, rate, console)
    if as_json:
        print_json(replayed)
    elif not replayed.selected:
        say("nothing to replay")
    else:
        show_replayed(Console(), options, run, replayed)


def _foresee(options: "PipelineOptions", sink: str, selection: "Selection", console: "Console", as_json: bool) -> None:
    from rich.progress import Progress

    from pipelines.letters import show
    from pipelines.replay import forecast
    from transforms.io.clickhouse import shared
    from transforms.io.letters import checked

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task("parsing", total=None)
        found = forecast(options, selection, lambda done: bars.update(task, completed=done))
    if as_json:
        print_json(found)
        return
    if not found.selected:
        say("nothing to replay")
        return
    for group in found.letters:
        say(f"{group.letters:>12,}  {group.reason}, team {group.team_id}")
    say(f"{found.selected:>12,}  letters would be replayed, and become now")
    say(f"{found.accepted:>12,}  accepted events, to be stored unless they are duplicates or over a limit")
    for reason, count in found.rejected.items():
        say(f"{count:>12,}  rejected again: {reason}")
    width = screen_width()
    samples = show(shared(sink), checked(shared(sink), selection), SAMPLES, width)
    say(f"The last {len(samples)} to arrive, cut to {width} characters:")
    print_letters(samples)
