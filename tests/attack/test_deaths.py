"""ClickHouse dies between any two of its own steps: nothing is lost, nothing is doubled, and all tables agree, without a hand."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from pipelines.compact import compact
from runners.ingest import run_ingest
from schemas.event import Event
from tests.attack.deaths import Step, ingest_until, killed_at, part_moved, part_synced, token_noted
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.faults import Fault
from tests.servers.process import wait_until
from transforms.io.clickhouse import Client, Patience, close_all, connect, shared
from transforms.io.clickhouse.server import ServerClient
from transforms.io.clickhouse.url import ServerAt, parse
from transforms.io.migrate import migrate
from transforms.sink.rows import event_rows
from transforms.sink.stored import StoredEvents

EVENTS = 200
STORED = ("events", "events_unique", "event_ids", "unchecked_ids")
NOW = 1_795_000_000_000_000
# An insert of `events` moves four parts, its own first. A job of one file has two inserts before that, of receipts and facts.
PARTS = 4
LONG = pytest.mark.attack
EVENT_ROWS = [Event(3, n.to_bytes(16), "$pageview", "d", NOW, NOW + n, b"{}", "", False, 0, 1, n, 0) for n in range(EVENTS)]


def write_events(path: Path) -> Path:
    """Write a file of client events."""
    lines = [
        {"uuid": f"00000000-0000-4000-8000-{n:012}", "event": "e", "distinct_id": f"d{n % 7}", "token": "phc_acme", "properties": {"n": n}}
        for n in range(EVENTS)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def ingest(source: Path, sink: str, teams: Path | None = None) -> dict[str, Any]:
    options = PipelineOptions([], source=[str(source)], sink=sink, teams=str(teams) if teams else None)
    _, result = run_ingest(options, Console(stderr=True, force_terminal=False))
    return {name: getattr(result, name) for name in ("received", "stored", "duplicate")}


def counts(client: Client) -> dict[str, int]:
    """Return how many events the tables know of."""
    found = {table: client.rows(f"SELECT count() FROM {table}")[0][0] for table in STORED}
    return found | {"usage": client.rows("SELECT sum(events) FROM usage")[0][0]}


def assert_all_there(client: Client, count: int = EVENTS) -> None:
    assert counts(client) == dict.fromkeys((*STORED, "usage"), count)
    assert client.rows("SELECT uniqExact(team_id, uuid) FROM events_unique") == [(count,)]
    balance = audit(client)
    assert balance.balanced, [*map(str, balance.differences)]


@pytest.mark.parametrize("number", [pytest.param(n, marks=[] if 3 <= n <= 6 else LONG) for n in range(1, 9)])
def test_an_embedded_job_is_killed_before_it_moves_a_part(sink: str, tmp_path: Path, number: int) -> None:
    embedded(part_moved(number), sink, tmp_path)


@LONG
@pytest.mark.parametrize("number", range(1, 1 + PARTS))
def test_an_embedded_job_is_killed_before_it_notes_a_token(sink: str, tmp_path: Path, number: int) -> None:
    embedded(token_noted(number, Path(sink.removeprefix("chdb:"))), sink, tmp_path)


@LONG
@pytest.mark.parametrize("number", range(1, 40))
def test_an_embedded_job_with_durable_tables_is_killed_before_it_syncs_a_file(sink: str, tmp_path: Path, number: int) -> None:
    make_durable(shared(sink))
    embedded(part_synced(number), sink, tmp_path)


def embedded(step: Step, sink: str, folder: Path) -> None:
    """Run a job that is killed at a step, and run it again: without a hand, all is as if it had not been killed."""
    source = write_events(folder / "events.jsonl")
    close_all()
    assert ingest_until(step, source, sink, folder / "strace")
    assert ingest(source, sink)["received"] == EVENTS
    assert_all_there(shared(sink))
    assert ingest(source, sink)["duplicate"] == EVENTS
    assert compact(shared(sink), full=True).found == 0
    assert_all_there(shared(sink))


def make_durable(client: Client) -> None:
    for table in ("events", "event_ids", "unchecked_ids", "usage"):
        client.command(f"ALTER TABLE {table} MODIFY SETTING fsync_after_insert = 1, fsync_part_directory = 1")


@pytest.mark.parametrize("number", range(1, 1 + PARTS))
def test_a_server_is_killed_before_it_moves_a_part(tmp_path: Path, number: int) -> None:
    with ClickHouseEngine(tmp_path / "engine") as engine:
        insert_while_killed(part_moved(number), engine, tmp_path)


@LONG
@pytest.mark.parametrize("number", range(1, 1 + PARTS))
def test_a_server_is_killed_before_it_notes_a_token(tmp_path: Path, number: int) -> None:
    with ClickHouseEngine(tmp_path / "engine") as engine:
        migrate(shared(engine.url()))
        close_all()
        insert_while_killed(token_noted(number, engine.directory / "data"), engine, tmp_path)


def insert_while_killed(step: Step, engine: ClickHouseEngine, folder: Path) -> None:
    """Insert events while the server is killed at a step: the client's next attempt makes all tables right."""
    client = connect(engine.url(), Patience(sleep=lambda seconds: time.sleep(min(seconds, 0.05))))
    migrate(client)
    stored = StoredEvents(client)
    stored.verify_if_due()
    rows = event_rows(EVENT_ROWS)
    with ThreadPoolExecutor(1) as thread:
        with killed_at(step, engine.pid, folder / "strace"):
            insert = thread.submit(stored.insert, "events", rows, uuid4().hex)
            wait_until(lambda: not engine.is_running, 60, "death of the engine")
        engine.start()
        insert.result()
    assert counts(client) == dict.fromkeys((*STORED, "usage"), EVENTS)
    client.close()


def test_a_client_that_gave_up_waits_until_the_server_is_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it sent is stored after all, and nothing is sent again."""
    with ClickHouseEngine(tmp_path / "engine") as engine, ThreadPoolExecutor(1) as thread:
        address = parse(engine.url())
        assert isinstance(address, ServerAt)
        client = ServerClient(address, Patience(sleep=lambda seconds: time.sleep(min(seconds, 0.05))), answer_timeout=3)
        migrate(shared(engine.url()))
        close_all()
        with engine.faults.on(Fault(hold=True, table="events")):
            insert = thread.submit(StoredEvents(client).insert, "events", event_rows(EVENT_ROWS), uuid4().hex)
            wait_until(lambda: engine.faults.held == 1, 60, "the insert")
            wait_until(lambda: "is still at work on the insert" in caplog.text, 60, "the next attempt")
            assert not insert.done()
        insert.result()
        assert engine.faults.held == 1
        assert counts(client) == dict.fromkeys((*STORED, "usage"), EVENTS)
        client.close()


@LONG
@pytest.mark.parametrize("number", range(1, 9))
def test_a_job_goes_on_when_its_server_was_killed(tmp_path: Path, number: int) -> None:
    source, teams = write_events(tmp_path / "events.jsonl"), tmp_path / "teams.toml"
    teams.write_text('[[teams]]\nid = 1\nname = "Acme"\ntokens = ["phc_acme"]\n')
    with ClickHouseEngine(tmp_path / "engine") as engine, ThreadPoolExecutor(1) as job:
        client = shared(engine.url())
        migrate(client)
        with killed_at(part_moved(number), engine.pid, tmp_path / "strace"):
            result = job.submit(ingest, source, engine.url(), teams)
            wait_until(lambda: not engine.is_running, 60, "death of the engine")
        engine.start()
        assert result.result()["received"] == EVENTS
        assert_all_there(client)
        assert ingest(source, engine.url(), teams)["duplicate"] == EVENTS
        assert compact(client, full=True).found == 0
        assert_all_there(client)
        close_all()


def test_only_tables_that_are_compared_recognise_a_resend_by_its_token(client: Client) -> None:
    """ClickHouse may note a token and die before the rows are there: what is sent again would be swallowed, and nobody would know."""
    windows = client.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine_full LIKE '%deduplication_window%'")
    assert {name for (name,) in windows} == {"events", "event_ids", "unchecked_ids", "usage"}
