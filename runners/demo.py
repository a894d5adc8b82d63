"""`sluice demo`: a generated day of events, ingested twice, with the proof that none is missing and none is there twice."""

import shutil
import tempfile
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from pipelines.generate import Plan, generate
from pipelines.squash import squash
from runners.ingest import run_ingest, show_next_steps, show_summary
from transforms.io.clickhouse import Client, shared

QUERY = """
SELECT event, count() AS events, uniq(distinct_id) AS ids, min(timestamp) AS first, max(timestamp) AS last
FROM events_unique GROUP BY event ORDER BY events DESC LIMIT 8
"""

# Who saw a page, signed up, and bought: counted by browser, by the person known when the event came, and by the person of now.
FUNNEL = """
SELECT '{label}' AS counted_by, countIf(level > 0) AS saw_a_page, countIf(level > 1) AS signed_up, countIf(level > 2) AS purchased
FROM
(
    SELECT windowFunnel(2592000)(toDateTime(timestamp), event = '$pageview', event = 'signed up', event = 'purchase') AS level
    FROM {table} GROUP BY team_id, {id}
)
"""


def run_demo(events: int, keep: str | None) -> bool:
    """Generate, ingest, query, squash, ingest again and audit; return whether everything balanced and came out as generated.

    Args:
        events: how many to generate.
        keep: a folder for the data and the tables; a temporary one, removed at the end, if it is None.
    """
    folder = Path(keep or tempfile.mkdtemp(prefix="sluice-demo-"))
    try:
        return _demo(events, folder, keep is not None)
    finally:
        if keep is None:
            shutil.rmtree(folder)


def _demo(events: int, folder: Path, keep: bool) -> bool:
    console, quiet = Console(), Console(stderr=True)
    data, sink = folder / "data", f"chdb:{folder / 'db'}"
    console.rule("1. A realistic day of events: duplicates, late ones, rubbish, a team over its quota")
    truth = generate(Plan(events=events, out=str(data), duplicates=0.02))
    console.print(f"{truth.events:,} events in {truth.messages:,} messages, {truth.bytes / 1e6:,.0f} MB, in {data}")

    console.rule("2. sluice ingest")
    options = {"source": [str(data)], "sink": sink, "teams": truth.teams}
    run, first = run_ingest(PipelineOptions([], **options), quiet)
    show_summary(console, sink, run, first)

    console.rule("3. What an analyst sees: events_unique")
    _show(console, shared(sink), QUERY)

    client = shared(sink)
    console.rule("4. Persons: a funnel that is wrong without merges")
    _show(console, client, " UNION ALL ".join([_funnel("distinct_id"), _funnel("person_id"), _funnel("person_id", "events_resolved")]))
    summary = squash(client)
    console.print(f"sluice squash: {summary.rows:,} events had come before their person was known, and have it now", soft_wrap=True)
    _show(console, client, _funnel("person_id"))

    console.rule("5. The same files again: nothing new is stored")
    _, second = run_ingest(PipelineOptions([], **options), quiet)
    console.print(f"stored {second.stored:,}, duplicate {second.duplicate:,}, of {second.received:,} received")

    console.rule("6. sluice audit: received = stored + duplicate + limited + rejected, and every stored row is there")
    result = audit(shared(sink))
    for name in ("received", "stored", "duplicate", "limited", "rejected"):
        console.print(f"{name:>10}  {getattr(result, name):>12,}")
    expected = {name: getattr(truth, name) for name in ("stored", "duplicate", "limited", "rejected")}
    as_expected = all(getattr(first, name) == count for name, count in expected.items())
    console.print("the first run gave exactly what was generated" if as_expected else f"[red]expected {expected}")
    console.print("[green]balanced" if result.balanced else f"[red]NOT balanced: {[*map(str, result.differences)]}", highlight=False)
    if keep:
        show_next_steps(console, sink, first)
    else:
        console.print("to look around afterwards: sluice demo --keep FOLDER")
    return result.balanced and as_expected and second.stored == 0


def _funnel(column: str, table: str = "events_unique") -> str:
    label = f"{column} of {table}"
    return FUNNEL.format(label=label, table=table, id=column)


def _show(console: Console, client: Client, sql: str) -> None:
    console.print(client.formatted(sql, "PrettyCompactMonoBlock").decode(), highlight=False, soft_wrap=True)
