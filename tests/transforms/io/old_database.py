"""A database that an older release has made, for tests of what becomes of it."""

import tarfile
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from pipelines.compact import compact
from runners.ingest import run_ingest
from transforms.io.clickhouse import Client, shared

ARCHIVE = Path(__file__).parents[2] / "data" / "tables" / "0007.tar.xz"
EVENTS = 1_115
# What is rebuilt. Letters and warnings expire: those of the archive are not looked at, but those that `unpack` is followed by.
REBUILT = {
    "events": "1",
    "event_ids": "1",
    "dead_letters": "inserted_at > now() - INTERVAL 1 DAY",
    "ingestion_warnings": "timestamp > now() - INTERVAL 1 DAY",
}

Contents = dict[str, tuple[str, int, int]]
"""By table: the columns that are stored, the number of rows, and a number that depends on all of their values."""


def unpack(folder: Path) -> tuple[Path, Path]:
    """Unpack database and files into a folder, and return the folders of both."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "db", folder / "in"


def add_fresh(client: Client) -> None:
    """Add letters and warnings that do not expire while a test runs."""
    client.command("INSERT INTO dead_letters (team_id, body, _timestamp, _offset) SELECT 1, 'x', now64(6), number FROM numbers(500)")
    client.command("INSERT INTO ingestion_warnings (team_id, key, timestamp) SELECT 1, toString(number), now64(6) FROM numbers(500)")


def contents(client: Client, columns: Contents | None = None) -> Contents:
    """Return what is in the tables that are rebuilt; of the columns that were there in an earlier look, if one is given."""
    found = {}
    for table, where in REBUILT.items():
        names = columns[table][0] if columns else _stored(client, table)
        ((rows, values),) = client.rows(f"SELECT count(), groupBitXor(sipHash64({names})) FROM {table} WHERE {where}")
        found[table] = names, rows, values
    return found


def _stored(client: Client, table: str) -> str:
    rows = client.rows(
        f"SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{table}' AND default_kind IN ('', 'DEFAULT')"
    )
    return ", ".join(f"`{name}`" for (name,) in rows)


def assert_whole(sink: str, before: Contents, files: Path | None = None, events: int = EVENTS) -> None:
    """All rows are there with all values, the audit balances, nothing is doubled, and the same files store nothing."""
    client = shared(sink)
    assert contents(client, before) == before
    assert client.rows("SELECT count() FROM events_unique") == [(events,)]
    assert client.rows("SELECT count() FROM system.tables WHERE name LIKE '%\\_rebuilt'") == [(0,)]
    for table in REBUILT:
        ((keys,),) = client.rows(f"SELECT partition_key FROM system.tables WHERE database = currentDatabase() AND name = '{table}'")
        assert "2035" in keys
    result = audit(client)
    assert result.balanced, [*map(str, result.differences)]
    summary = compact(client, full=True)
    assert (summary.found, summary.alarms) == (0, [])
    if files:
        asked = PipelineOptions([], source=[str(files)], sink=sink, teams=str(files / "teams.toml"))
        again = run_ingest(asked, Console(stderr=True, force_terminal=False))[1]
        result = audit(shared(sink))
        assert (again.stored, result.balanced) == (0, True), [again, *map(str, result.differences)]
