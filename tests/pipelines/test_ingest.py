"""The whole path against the generator's truth: files in, tables out, and the audit."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from pipelines.generate import Plan, Summary, generate
from runners.ingest import run_ingest
from runners.results import Summary as Result
from transforms.io.clickhouse import close_all, shared

REPEAT = "--direct_runner_bundle_repeat=1"


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_all()


def run(source: Path | list[Path], db: Path, *beam: str, teams: str | None = None, **options: Any) -> Result:
    sources = [str(each) for each in (source if isinstance(source, list) else [source])]
    asked = PipelineOptions(list(beam), source=sources, sink=f"chdb:{db}", teams=teams, **options)
    return run_ingest(asked, Console(stderr=True, force_terminal=False))[1]


def by_team(db: Path) -> dict[int, dict[str, Any]]:
    """Return what the ledger says, in the form of the generator's truth."""
    found: dict[int, dict[str, Any]] = {}
    rows = shared(f"chdb:{db}").rows(
        "SELECT team_id, toString(outcome), reason, sum(count) FROM outcomes FINAL WHERE outcome != 'received' GROUP BY 1, 2, 3"
    )
    for team, outcome, reason, count in rows:
        of_team = found.setdefault(team, {"stored": 0, "duplicate": 0, "limited": {}, "rejected": {}})
        if reason:
            of_team[outcome][reason] = count
        else:
            of_team[outcome] = count
    return found


def expected(truth: Summary) -> dict[int, dict[str, Any]]:
    teams = {
        team: {"stored": each.stored, "duplicate": each.duplicate, "limited": dict(each.limited), "rejected": dict(each.rejected)}
        for team, each in truth.by_team.items()
    }
    return {team: each for team, each in teams.items() if any(each.values())}


def assert_true(truth: Summary, db: Path) -> None:
    """Outcomes by team and reason are the generated ones, rows too, and the audit balances."""
    client = shared(f"chdb:{db}")
    assert by_team(db) == expected(truth)
    assert client.rows("SELECT count(), uniqExact(team_id, uuid) FROM events") == [(truth.stored, truth.stored)]
    assert client.rows("SELECT count() FROM events_unique") == [(truth.stored,)]
    assert client.rows("SELECT count() FROM dead_letters FINAL") == [(truth.rejected,)]
    result = audit(client)
    assert result.balanced, [*map(str, result.differences)]
    assert result.received == truth.events


@pytest.mark.parametrize("beam", [(), (REPEAT,)], ids=["once", "repeated"])
@pytest.mark.parametrize(
    "plan",
    [
        {"shape": "captured"},
        {"shape": "captured", "compression": "gzip", "days": 12},
        {"shape": "captured", "format": "parquet"},
        {"shape": "event", "compression": "zstd"},
        {"shape": "event", "format": "avro"},
        {"shape": "batch"},
        {"shape": "http"},
    ],
    ids=lambda plan: "-".join(map(str, plan.values())),
)
def test_ingest_gives_exactly_the_generated_truth(tmp_path: Path, plan: dict[str, Any], beam: tuple[str, ...]) -> None:
    truth = generate(Plan(events=6_000, out=str(tmp_path / "in"), duplicates=0.05, invalid=0.02, files=3, teams=20, **plan))
    result = run(tmp_path / "in", tmp_path / "db", *beam, teams=truth.teams, range_bytes=1 << 20)
    assert (result.received, result.stored, result.duplicate, result.limited, result.rejected) == (
        truth.events, truth.stored, truth.duplicate, truth.limited, truth.rejected,
    )  # fmt: skip
    assert_true(truth, tmp_path / "db")


@pytest.mark.parametrize("beam", [(), (REPEAT,)], ids=["once", "repeated"])
def test_the_same_files_again_store_nothing(tmp_path: Path, beam: tuple[str, ...]) -> None:
    truth = generate(Plan(events=4_000, out=str(tmp_path / "in"), duplicates=0.05, invalid=0.02, quota=0, days=20))
    first = run(tmp_path / "in", tmp_path / "db", *beam, teams=truth.teams)
    close_all()  # a new process would know as little
    again = run(tmp_path / "in", tmp_path / "db", *beam, teams=truth.teams)
    assert first.stored == truth.stored
    assert (again.stored, again.duplicate) == (0, truth.stored + truth.duplicate)
    assert (again.limited, again.rejected) == (truth.limited, truth.rejected)
    result = audit(shared(f"chdb:{tmp_path / 'db'}"))
    assert result.balanced, [*map(str, result.differences)]
    assert result.received == 2 * truth.events


def captured(uuid: int, token: str = "phc_a", at: str = "2026-11-01T10:00:00Z", **event: Any) -> str:
    inner = {"event": "e", "properties": {"n": uuid}, **event}
    envelope = {"uuid": str(UUID(int=uuid)), "distinct_id": "d", "ip": "1.2.3.4", "data": json.dumps(inner), "now": at, "token": token}
    return json.dumps(envelope)


def test_a_bad_line_harms_nobody_else(tmp_path: Path) -> None:
    bad = [b"\xff\xfe{", b"[" * 10_000, b'{"uuid": 5', b"nonsense", captured(0).encode(), b'{"token": "phc_a"}']
    lines = [line for number, each in enumerate(bad) for line in (captured(number + 1).encode(), each)]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    result = run(tmp_path / "in.jsonl", tmp_path / "db")
    assert (result.received, result.stored, result.rejected) == (12, 6, 6)
    letters = shared(f"chdb:{tmp_path / 'db'}").columns("SELECT body FROM dead_letters FINAL")["body"]
    assert sorted(letters) == sorted(bad)


def test_a_flood_of_one_team_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "teams.toml").write_text(
        '[[teams]]\nid = 1\ntokens = ["phc_a"]\n[teams.limits]\nevents_per_hour = 10\n[[teams]]\nid = 2\ntokens = ["phc_b"]\n'
    )
    flood = [captured(number, "phc_a") for number in range(1, 500)]
    others = [captured(number, "phc_b") for number in range(1, 100)]
    (tmp_path / "in.jsonl").write_text("\n".join(flood[:250] + others + flood[250:]))
    run(tmp_path / "in.jsonl", tmp_path / "db", teams=str(tmp_path / "teams.toml"))
    assert by_team(tmp_path / "db") == {
        1: {"stored": 10, "duplicate": 0, "limited": {"events_per_hour": 489}, "rejected": {}},
        2: {"stored": 99, "duplicate": 0, "limited": {}, "rejected": {}},
    }
    warnings = shared(f"chdb:{tmp_path / 'db'}").rows("SELECT team_id, type FROM ingestion_warnings FINAL")
    assert warnings == [(1, "quota_exceeded")]


def test_a_backlog_of_many_hours_is_not_punished(tmp_path: Path) -> None:
    (tmp_path / "teams.toml").write_text('[[teams]]\nid = 1\ntokens = ["phc_a"]\n[teams.limits]\nevents_per_hour = 10\n')
    lines = [captured(hour * 100 + number, at=f"2026-11-01T{hour:02d}:30:00Z") for hour in range(24) for number in range(1, 13)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    result = run(tmp_path / "in.jsonl", tmp_path / "db", teams=str(tmp_path / "teams.toml"))
    assert (result.stored, result.limited) == (240, 48)


def test_timestamps_of_a_thousand_months_do_not_fail_the_insert(tmp_path: Path) -> None:
    lines = [captured(number, timestamp=f"{1930 + number % 96}-{number % 12 + 1:02d}-01T00:00:00Z") for number in range(1, 1200)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    assert run(tmp_path / "in.jsonl", tmp_path / "db").stored == 1199


def test_an_empty_file_and_one_that_ends_in_mid_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "b.jsonl").write_text(captured(1) + "\n" + captured(2)[:40])
    result = run([tmp_path / "a.jsonl", tmp_path / "b.jsonl"], tmp_path / "db")
    assert (result.received, result.stored, result.rejected) == (2, 1, 1)
    assert audit(shared(f"chdb:{tmp_path / 'db'}")).balanced


def test_a_truncated_gzip_file_gives_what_can_be_read(tmp_path: Path) -> None:
    whole = gzip.compress("\n".join(captured(number) for number in range(1, 3000)).encode())
    (tmp_path / "in.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    result = run(tmp_path / "in.jsonl.gz", tmp_path / "db")
    assert result.stored > 500
    reasons = shared(f"chdb:{tmp_path / 'db'}").rows("SELECT reason, count() FROM dead_letters FINAL GROUP BY reason")
    assert reasons == [("unreadable_file", 1)]
    assert audit(shared(f"chdb:{tmp_path / 'db'}")).balanced
