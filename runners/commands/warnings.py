"""`sluice warnings`: what customers should know about their events."""

from typing import Any

import click

from runners.commands.common import JSON, SINK, documented, existing, print_json, say, typed_failures
from transforms.printable import printable


@click.command(
    **documented(
        "Show what customers should know about their events, by team and type, and what to do about it.",
        "sluice warnings --sink chdb:db --team 3 --since 2026-11-01",
    )
)
@SINK
@click.option("--team", type=int, help="One team's id.")
@click.option("--type", "kind", help="One type, as event_name_too_long.")
@click.option("--since", type=click.DateTime(), help="First time of arrival, UTC.")
@click.option("--until", type=click.DateTime(), help="Time of arrival to stop before, UTC.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(min=1), help="How many groups, those with the latest first.")
@JSON
@typed_failures
def warnings(sink: str, team: int | None, kind: str | None, since: Any, until: Any, limit: int, as_json: bool) -> None:
    """Show warnings."""
    from datetime import UTC

    from pipelines.warnings import Scope, read_warnings

    client = existing(sink)
    first, last = (None if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) for moment in (since, until))
    groups = read_warnings(client, Scope(team, kind, first, last, limit))
    if as_json:
        print_json({"warnings": groups})
        return
    for group in groups:
        when = f"{group.count:,} events at least, {group.first} to {group.last}"
        say(f"team {group.team_id}  {group.severity:<8}  {printable(group.type)}  {when}")
        say(f"    {group.means}: {group.todo}\n    {printable(str(group.details))}")
    if not groups:
        say("no warnings")
