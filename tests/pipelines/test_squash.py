"""`sluice squash`: after it, each event has the person that its distinct id belongs to."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from pipelines.squash import squash
from runners.ingest import run_ingest
from schemas.identity import open_team_id
from transforms.io.clickhouse import Client, close_all, shared

NAMESPACE = UUID("932979b4-65c3-4424-8467-0b66ec27bc22")
TEAM = open_team_id("phc_a")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


class Database:
    """A database with a clock: each event that is fed is a second after the one before."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink = f"chdb:{folder / 'db'}"
        self.fed = 0

    @property
    def client(self) -> Client:
        return shared(self.sink)

    def feed(self, *events: tuple[str, str] | tuple[str, str, dict[str, Any]], month: int = 11) -> None:
        """Ingest (event, distinct id[, properties])."""
        lines = []
        for event, who, *properties in events:
            self.fed += 1
            at = f"2026-{month:02d}-01T10:{self.fed // 60:02d}:{self.fed % 60:02d}Z"
            data = {"event": event, "properties": properties[0] if properties else {}, "timestamp": at}
            uuid = str(UUID(int=(7 << 76) + self.fed))
            lines.append(json.dumps({"uuid": uuid, "distinct_id": who, "data": json.dumps(data), "now": at, "token": "phc_a"}))
        file = self.folder / f"{self.fed}.jsonl"
        file.write_text("\n".join(lines))
        run_ingest(PipelineOptions([], source=[str(file)], sink=self.sink), Console(stderr=True, force_terminal=False))

    def people(self) -> list[str]:
        """Return the person id of each event, in the order in which they were fed; named as the distinct id that it is of."""
        names = {uuid5(NAMESPACE, f"{TEAM}:{who}"): who for who in ("anon", "jane", "other", "third")}
        rows = self.client.rows("SELECT person_id FROM events ORDER BY timestamp")
        return [names[row[0]] for row in rows]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path)


IDENTIFY = ("$identify", "jane", {"$anon_distinct_id": "anon"})


def test_what_came_before_the_merge_gets_its_person(database: Database) -> None:
    database.feed(("a", "anon"), ("b", "other"))
    database.feed(IDENTIFY, ("c", "anon"))
    assert database.people() == ["anon", "other", "jane", "jane"]
    summary = squash(database.client)
    assert (summary.partitions, summary.rows, summary.distinct_ids) == (1, 1, 1)
    assert database.people() == ["jane", "other", "jane", "jane"]
    assert audit(database.client).balanced


def test_a_dry_run_counts_and_changes_nothing(database: Database) -> None:
    database.feed(("a", "anon"))
    database.feed(IDENTIFY)
    assert squash(database.client, dry_run=True).rows == 1
    assert database.people() == ["anon", "jane"]
    assert squash(database.client).rows == 1, "and marks nothing"


def test_a_dry_run_does_not_disturb_a_run_that_is_at_work(database: Database) -> None:
    database.feed(("a", "anon"))
    database.feed(IDENTIFY)
    found = []
    database.client.command("CREATE TABLE squash_of_another (id String) ENGINE = Memory")
    squash(database.client, dry_run=True, progress=lambda *_: found.append(1))
    assert found
    assert database.client.rows("SELECT name FROM system.tables WHERE startsWith(name, 'squash_')") == [("squash_of_another",)]


def test_a_second_run_changes_nothing(database: Database) -> None:
    database.feed(("a", "anon"))
    database.feed(IDENTIFY)
    squash(database.client)
    assert squash(database.client).rows == 0
    assert database.people() == ["jane", "jane"]


def test_a_partition_without_news_is_skipped_and_one_with_news_is_not(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.squash.MARGIN_SECONDS", 0)
    database.feed(("a", "anon"), month=9)
    database.feed(IDENTIFY, month=10)
    client = database.client
    squash(client)
    assert squash(client).skipped == 2
    database.feed(("b", "other"), month=10)
    assert squash(client).skipped == 1
    database.feed(("$merge_dangerously", "third", {"alias": "jane"}))
    summary = squash(client)
    assert (summary.skipped, summary.rows) == (0, 2)
    assert database.people() == ["third", "third", "other", "third"]


def test_links_that_arrive_meanwhile_survive(database: Database) -> None:
    database.feed(("a", "anon"), ("b", "other"))
    database.feed(IDENTIFY)
    arrived = False

    def meanwhile(done: int, total: int) -> None:
        nonlocal arrived
        if not arrived:
            arrived = True
            database.feed(("$identify", "third", {"$anon_distinct_id": "other"}))

    squash(database.client, progress=meanwhile)
    assert database.people() == ["jane", "other", "jane", "third"]
    assert squash(database.client).rows == 1
    assert database.people() == ["jane", "third", "jane", "third"]


def test_a_merge_that_turns_out_not_to_hold_is_taken_back(database: Database) -> None:
    database.feed(("a", "anon"))
    database.feed(("$create_alias", "anon", {"alias": "other"}), month=12)  # anon is identified, but later
    database.feed(IDENTIFY)
    squash(database.client)
    assert database.people() == ["jane", "jane", "jane"]
    database.feed(("$identify", "anon", {"$anon_distinct_id": "third"}), month=10)  # news of an earlier time
    squash(database.client)
    assert sorted(database.people()) == ["anon", "anon", "anon", "jane"]


def test_a_run_that_was_killed_can_be_run_again(database: Database) -> None:
    people = [(f"e{number}", "anon" if number % 2 else "other") for number in range(50)]
    database.feed(*people)
    database.feed(IDENTIFY, ("$identify", "third", {"$anon_distinct_id": "other"}))
    close_all()
    killed = 0
    for step in range(1, 40):
        code = subprocess.run([sys.executable, "-W", "ignore", "-c", KILLED, database.sink, str(step)], timeout=60, check=False).returncode
        if code == 0:
            break
        assert code == -9
        killed += 1
        assert audit(database.client).balanced
        close_all()
    assert killed >= 8
    assert squash(database.client).rows == 0
    assert set(database.people()) == {"jane", "third"}
    assert database.client.rows("SELECT name FROM system.tables WHERE startsWith(name, 'squash_')") == []


# Runs squash, and kills its own process at statement number N.
KILLED = """
import os, signal, sys
from pipelines.squash import squash
from transforms.io.clickhouse import shared

client = shared(sys.argv[1])

class Killed:
    left = int(sys.argv[2])
    rows = client.rows

    def command(self, sql):
        Killed.left -= 1
        if not Killed.left:
            if sql.startswith("ALTER"):  # killed while it works
                client.command(sql.replace("mutations_sync = 2", "mutations_sync = 0"))
            os.kill(os.getpid(), signal.SIGKILL)
        client.command(sql)

squash(Killed())
"""
