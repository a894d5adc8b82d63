"""Persons through the main job: the same files again, and each bundle twice, change nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from pipelines.generate import Plan, generate
from runners.ingest import run_ingest
from transforms.io.clickhouse import close_all, shared

SHOWN = {
    "persons": "team_id, id, created_at, is_identified, properties",
    "person_distinct_ids": "team_id, distinct_id, person_id",
    "groups": "team_id, group_type, group_key, created_at, group_properties",
    "events_resolved": "team_id, uuid, person_id",
}
# Registers as they merge, and not how often they were written.
FACTS = {
    "person_properties": "team_id, distinct_id, kind, key, max(register)",
    "person_links": "team_id, distinct_id, kind, key, max(register)",
    "group_properties": "team_id, group_type, group_key, kind, key, max(register)",
}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("load")
    generate(Plan(events=4_000, out=str(folder), files=3, teams=5, seed=7))
    return folder


def run(load: Path, sink: str, *beam: str, shards: int = 4) -> None:
    options = PipelineOptions(list(beam), source=[str(load)], sink=sink, teams=str(load / "teams.toml"), shards=shards)
    run_ingest(options, Console(stderr=True, force_terminal=False))


def tables(sink: str) -> dict[str, list[tuple[Any, ...]]]:
    client = shared(sink)
    shown = {view: sorted(client.rows(f"SELECT {columns} FROM {view}")) for view, columns in SHOWN.items()}
    for table, columns in FACTS.items():
        key = columns.partition(", max")[0]
        where = " WHERE kind != 'created'" if table == "person_links" else ""
        shown[table] = sorted(client.rows(f"SELECT {columns} FROM {table}{where} GROUP BY {key}"), key=str)
    assert audit(client).balanced
    return shown


def test_the_same_files_again_change_no_person(load: Path, tmp_path: Path) -> None:
    sink = f"chdb:{tmp_path / 'db'}"
    run(load, sink)
    once = tables(sink)
    assert len(once["persons"]) > 50 < len(once["person_distinct_ids"])
    run(load, sink, shards=16)
    assert tables(sink) == once


def test_bundles_that_are_run_twice_change_no_person_and_no_stamp(load: Path, tmp_path: Path) -> None:
    stamps = "SELECT uuid, person_id, person_properties, person_created_at, person_mode FROM events ORDER BY ALL"
    found = []
    for name, beam in (("once", []), ("twice", ["--direct_runner_bundle_repeat=1"])):
        sink = f"chdb:{tmp_path / name}"
        run(load, sink, *beam, shards=1)
        found.append((tables(sink), shared(sink).rows(stamps)))
        close_all()
    assert found[0] == found[1]
    assert len(found[0][1]) > 3_000
