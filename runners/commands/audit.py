"""`sluice audit`: the proof that nothing is missing."""

import sys
from typing import Any

import click

from runners.commands.common import JSON, SINK, documented, existing, print_json, say, typed_failures
from transforms.printable import printable


@click.command(
    **documented(
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
@typed_failures
def audit(sink: str, since: Any, until: Any, team: int | None, grace: int | None, as_json: bool) -> None:
    """Audit the ledger."""
    from datetime import UTC

    from pipelines.audit import Scope
    from pipelines.audit import audit as run_audit

    client = existing(sink)
    first, last = (None if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) for moment in (since, until))
    result = run_audit(client, Scope(first, last, team, grace if grace is not None else 0 if client.embedded else 3600))
    if as_json:
        print_json(result)
    else:
        for name in ("received", "stored", "duplicate", "limited", "rejected", "in_flight"):
            say(f"{name:>10}  {getattr(result, name):,}")
        for difference in result.differences:
            say(f"difference: {printable(str(difference))}")
        say("balanced" if result.balanced else f"NOT balanced: {len(result.differences)} differences")
    if not result.balanced:
        sys.exit(1)
