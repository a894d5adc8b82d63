"""`sluice doctor`: what is wrong with a deployment, and what to do about it."""

import sys

import click

from runners.commands.common import JSON, SINK, documented, print_json, say, typed_failures

COLORS = {"ok": "green", "warning": "yellow", "failure": "red"}
PATIENCE_SECONDS = 5.0


@click.command(
    **documented(
        "Check a deployment, and say of each finding what to do; exit 1 on a failure.",
        "sluice doctor --sink clickhouse://localhost/events --source 'kafka://localhost/events?group=sluice' --teams teams.toml",
    )
)
@SINK
@click.option("--source", "sources", multiple=True, help="A stream that is read, as for `sluice ingest`. May be given more than once.")
@click.option("--teams", default="", help="The team registry's file.")
@JSON
@typed_failures
def doctor(sink: str, sources: tuple[str, ...], teams: str, as_json: bool) -> None:
    """Examine a deployment."""
    from rich.console import Console

    from pipelines.doctor import Level, examine
    from transforms.io.clickhouse import Patience, connect

    client = connect(sink, Patience(PATIENCE_SECONDS))
    console = Console(stderr=True)
    with console.status("examining"):
        findings = examine(client, sources, teams)
    client.close()
    failures = sum(finding.level == Level.FAILURE for finding in findings)
    warnings = sum(finding.level == Level.WARNING for finding in findings)
    if as_json:
        print_json({"failures": failures, "warnings": warnings, "findings": findings})
    else:
        for finding in findings:
            click.secho(f"{finding.level.value:>7}", fg=COLORS[finding.level.value], nl=False)
            say(f"  {finding.name}: {finding.what}")
            if finding.todo:
                say(f"{'':>7}  -> {finding.todo}")
        say(f"{failures} failures, {warnings} warnings")
    if failures:
        sys.exit(1)
