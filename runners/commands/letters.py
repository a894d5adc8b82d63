"""`sluice letters`: what was rejected, why, and what to do about it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from runners.commands.common import JSON, SINK, documented, existing, print_json, say, typed_failures

if TYPE_CHECKING:
    from pipelines.letters import Group, Letter
    from transforms.io.letters import Selection

FILTERS = (
    click.option("--reason", "reasons", multiple=True, help="One reason, as unknown_token; may be given more than once."),
    click.option("--step", help="The step that rejected it, as ParseEvents."),
    click.option("--team", type=int, help="One team's id; 0 for letters of no known team."),
    click.option("--since", type=click.DateTime(), help="First moment of arrival, UTC."),
    click.option("--until", type=click.DateTime(), help="Moment of arrival to stop before, UTC."),
    click.option("--text", help="What stands in the body, as it is stored, or in the detail."),
    click.option("--where", help="A condition in ClickHouse's SQL on the columns of `letters`, as \"source LIKE '%/day-3/%'\"."),
    click.option("--include-replayed", is_flag=True, help="Also letters whose replay has gone well."),
)


def filtered(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that choose letters to a command."""
    for option in reversed(FILTERS):
        command = option(command)
    return command


def selection_of(limit: int | None, **filters: Any) -> "Selection":
    """Return what the options of `filtered` choose.

    Raises:
        ConfigError: there is no such reason, or a limit below 1.
    """
    from datetime import UTC

    from schemas.errors import ConfigError
    from schemas.reasons import Reason
    from transforms.io.letters import Selection

    known = [reason.value for reason in Reason]
    for reason in filters["reasons"]:
        if reason not in known:
            raise ConfigError(f"--reason {reason} is none", f"it is one of {', '.join(known)}")
    if limit is not None and limit < 1:
        raise ConfigError(f"--limit is {limit}", "it is a number of letters, at least 1")
    for name in ("since", "until"):
        if filters[name] is not None:
            filters[name] = round(filters[name].replace(tzinfo=UTC).timestamp() * 1_000_000)
    return Selection(limit=limit, **filters)


@click.command(
    **documented(
        "Say what was rejected, why, and what to do about it. Bodies are customers' data: --show shows them, cut.",
        "sluice letters --sink chdb:db --reason unknown_token --show --limit 5",
    )
)
@SINK
@filtered
@click.option("--show", is_flag=True, help="Show single letters that wait for a replay, the last to arrive first.")
@click.option("--limit", default=20, show_default=True, help="How many letters --show shows.")
@JSON
@typed_failures
def letters(sink: str, show: bool, limit: int, as_json: bool, **filters: Any) -> None:
    """List dead letters."""
    from pipelines.letters import show as find
    from pipelines.letters import summarize
    from transforms.io.letters import checked
    from transforms.io.migrate import require_schema

    client = existing(sink)
    require_schema(client)
    selection = checked(client, selection_of(limit, **filters))
    if show:
        found = find(client, selection, limit, 200 if as_json else screen_width())
        print_json({"letters": found}) if as_json else print_letters(found)
    else:
        groups = summarize(client, selection)
        print_json({"reasons": groups}) if as_json else _print_groups(groups)


def screen_width() -> int:
    """Return how wide a line may be."""
    from rich.console import Console

    return max(40, Console().width - 4)


def print_letters(found: "list[Letter]") -> None:
    """Print letters, three lines each."""
    for letter in found:
        head = f"{letter.arrived:%Y-%m-%d %H:%M:%S}  team {letter.team_id}  {letter.reason} at {letter.step}"
        attempt = f", attempt {letter.attempt}" if letter.attempt > 1 else ""
        say(f"{head}, {letter.status}{attempt}, {letter.bytes:,} bytes\n    {letter.detail}\n    {letter.body}")
    if not found:
        say("no letters")


def _print_groups(groups: "list[Group]") -> None:
    from pipelines.letters import explain

    for group in groups:
        counts = f"{group.waiting:,} waiting, {group.replayed:,} replayed, {group.failed_again:,} failed again"
        teams = f"{group.teams:,} team{'s' if group.teams > 1 else ''}" if group.teams else "no known team"
        say(f"{group.reason}: {counts}, of {teams}, arrived {group.oldest:%Y-%m-%d %H:%M} to {group.newest:%Y-%m-%d %H:%M}")
        for text in explain(group.reason):
            say(indented(text))
    if not groups:
        say("no letters")


def indented(text: str) -> str:
    """Return a text in lines that fit on the screen."""
    from textwrap import fill

    return fill(text, screen_width(), initial_indent="    ", subsequent_indent="    ", break_on_hyphens=False)
