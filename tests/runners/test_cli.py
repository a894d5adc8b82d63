"""The command line as its users meet it: exit codes, messages, `--json`, `--help`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from runners.cli import main

SLUICE = [sys.executable, "-m", "runners"]
ROOT = Path(__file__).parents[2]


def sluice(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run([*SLUICE, *arguments], capture_output=True, text=True, env=env, timeout=120, check=False)


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "events"
    done = sluice("generate", "--events", "2000", "--out", str(folder), "--duplicates", "0.05", "--truth", f"{folder}.truth", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["events"] == 2000
    return folder


@pytest.mark.parametrize("command", sorted(main.commands))
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = sluice(command, "--help")
    assert done.returncode == 0
    assert f"Example: sluice {command}" in " ".join(done.stdout.split())


def test_from_generate_to_audit(generated: Path, tmp_path: Path) -> None:
    sink = f"chdb:{tmp_path / 'db'}"
    ingested = sluice("ingest", "--source", str(generated), "--sink", sink, "--teams", str(generated / "teams.toml"), "--json")
    assert ingested.returncode == 0, ingested.stderr
    assert ingested.stderr == "", "quiet where there is no terminal"
    result = json.loads(ingested.stdout.splitlines()[-1])
    assert set(result) == {
        "received", "stored", "duplicate", "limited", "rejected", "warnings", "seconds", "events_per_second", "cpu_us_per_event",
    }  # fmt: skip
    truth = json.loads(Path(f"{generated}.truth").read_text().splitlines()[0])
    assert {name: result[name] for name in ("stored", "duplicate", "limited", "rejected")} == {
        name: truth[name] for name in ("stored", "duplicate", "limited", "rejected")
    }

    query = sluice("query", "--sink", sink, "SELECT count() AS n FROM events_unique", "--format", "JSONEachRow")
    assert json.loads(query.stdout) == {"n": result["stored"]}

    audited = sluice("audit", "--sink", sink, "--json")
    assert audited.returncode == 0, audited.stderr
    assert json.loads(audited.stdout.splitlines()[-1])["balanced"] is True

    deleted = sluice("query", "--sink", sink, "DELETE FROM events WHERE uuid = (SELECT min(uuid) FROM events)")
    assert deleted.returncode == 0, deleted.stderr
    convicted = sluice("audit", "--sink", sink)
    assert convicted.returncode == 1
    assert "rows_missing" in convicted.stdout
    assert "-1" in convicted.stdout


def test_a_summary_for_people(generated: Path, tmp_path: Path) -> None:
    done = sluice("ingest", "--source", str(generated), "--sink", f"chdb:{tmp_path / 'db'}", "--teams", str(generated / "teams.toml"))
    assert done.returncode == 0, done.stderr
    assert "received" in done.stdout
    assert "2,000" in done.stdout
    assert f"sluice audit --sink chdb:{tmp_path / 'db'}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--source", "{tmp}/none-*.jsonl", "--sink", "chdb:{tmp}/db"), "none-*.jsonl"),
        (("--source", "{data}", "--sink", "{tmp}/db"), "chdb:"),
        (("--source", "{data}", "--sink", "chdb:/proc/nowhere/db"), "/proc/nowhere"),
        (("--source", "{data}", "--sink", "chdb:{tmp}/db", "--teams", "{tmp}/none.toml"), "none.toml"),
        (("--source", "{data}", "--sink", "chdb:{tmp}/db", "--teams", "{data}/events-00000.jsonl"), "events-00000.jsonl"),
        (("--source", "{data}", "--sink", "chdb:{tmp}/db", "--shards", "3"), "shards is 3"),
        (("--source", "{data}", "--sink", "chdb:{tmp}/db", "--range_bytes", "0"), "range_bytes is 0"),
        (("--source", "{data}", "--sink", "chdb:{tmp}/db", "--direct_num_workers", "2"), "direct_num_workers is 2"),
        (("--source", "{data}", "--sink", "clickhouse://u:sesame@127.0.0.1:1/d"), "--teams"),
    ],
)
def test_a_misconfiguration_is_refused_at_start_with_a_hint(arguments: tuple[str, ...], says: str, generated: Path, tmp_path: Path) -> None:
    done = sluice("ingest", *(each.format(tmp=tmp_path, data=generated) for each in arguments))
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert "sesame" not in done.stderr + done.stdout


def test_wrong_usage_is_exit_code_2() -> None:
    assert sluice("ingest").returncode == 2
    assert sluice("nonsense").returncode == 2


def test_nothing_to_read_is_allowed_when_asked_for(tmp_path: Path) -> None:
    done = sluice("ingest", "--source", f"{tmp_path}/none-*", "--sink", f"chdb:{tmp_path / 'db'}", "--allow-empty", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["received"] == 0


def test_audit_of_a_sink_without_tables_is_refused(tmp_path: Path) -> None:
    done = sluice("audit", "--sink", f"chdb:{tmp_path / 'db'}")
    assert done.returncode == 2
    assert "hint:" in done.stderr
