"""C3: a password is known to the process that connects, and to nobody else: no command line, log, metric, option or pickle has it."""

import base64
import bz2
import os
import re
import subprocess
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from click.testing import CliRunner

import runners.cli
from pipelines.ingest import ingest, prepare
from pipelines.produce import messages_of, open_topic, produce
from runners.options import defaults
from schemas.errors import ConfigError
from tests.faults.streams import SLUICE, KafkaTopic, Load, Stream, stored
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import free_port, wait_until
from transforms.io.clickhouse import close_all, connect, shared
from transforms.io.migrate import migrate

SECRET = "hunter2-\N{LATIN SMALL LETTER E WITH ACUTE}"
QUOTED = "hunter2-%C3%A9"
HIDDEN = (SECRET, QUOTED, "hunter2")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseEngine]:
    with ClickHouseEngine(tmp_path_factory.mktemp("guarded"), "me", SECRET) as server:
        yield server
        close_all()


@pytest.fixture
def sink(guarded: ClickHouseEngine, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the URL of a database with tables, whose password is in the environment."""
    monkeypatch.setenv("SINK_PASSWORD", SECRET)
    url = f"clickhouse://me@127.0.0.1:{guarded.port}/{guarded.new_database()}?password_env=SINK_PASSWORD"
    client = connect(url)
    migrate(client)
    client.close()
    return url


def leaks(text: str | bytes) -> list[str]:
    """Return which forms of the password stand in a text."""
    found = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    return [form for form in HIDDEN if form.encode() in found]


def command_lines(stream: Stream) -> dict[str, bytes]:
    return {name: Path(f"/proc/{pid}/cmdline").read_bytes() for name, pid in stream.children().items()}


@pytest.mark.parametrize("in_url", [False, True], ids=["in the environment", "in the URL"])
def test_a_stream_shows_its_password_to_nobody(kafka: Kafka, guarded: ClickHouseEngine, sink: str, tmp_path: Path, in_url: bool) -> None:
    load, topic, port = Load(tmp_path, 500, seed=3), KafkaTopic(kafka), free_port()
    given = sink.replace("me@", f"me:{QUOTED}@").partition("?")[0] if in_url else sink
    stream = Stream(topic, given, load.teams, tmp_path, "--health-port", str(port))
    try:
        produce(messages_of([str(load.folder)]), open_topic(topic.to), None)
        wait_until(lambda: stored(guarded, sink.replace("me@", f"me:{QUOTED}@").partition("?")[0]) > 0, 60, "rows")
        lines = {name: Path(f"/proc/{pid}/cmdline").read_bytes() for name, pid in stream.children().items()}
        assert set(lines) == {"supervisor", "worker", "runner"}
        shown = [name for name, line in lines.items() if leaks(line)]
        assert shown == (["supervisor"] if in_url else []), "what somebody typed, and nothing else"
        for page in ("metrics", "readyz", "healthz"):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{page}", timeout=10) as answer:
                assert leaks(answer.read()) == []
        assert stream.stop() == 0
    finally:
        stream.destroy()
    log = (tmp_path / "ingest.log").read_text()
    assert leaks(log) == []
    assert ("which `ps` shows" in log and "password_env" in log) is in_url


def unpacked(job: bytes) -> bytes:
    """Return a job with what its pickles hold: Beam compresses them, and writes them in base64."""
    found = [job]
    for packed in re.findall(rb"[A-Za-z0-9+/]{64,}={0,2}", job):
        for skipped in range(4):  # letters before it may belong to something else
            raw = base64.b64decode(packed[skipped : skipped + (len(packed) - skipped) // 4 * 4])
            for decompress in (bz2.decompress, zlib.decompress):
                with suppress(OSError, ValueError, zlib.error):
                    found.append(decompress(raw))
    return b"".join(found)


def test_a_job_as_it_is_submitted_has_no_password(kafka: Kafka, sink: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its graph with all pickles, and its options, as every runner gets them."""
    load, topic = Load(tmp_path, 10, seed=3), KafkaTopic(kafka)
    options = PipelineOptions(["--streaming"], sink=sink, source=[topic.source], teams=load.teams)
    pipeline = beam.Pipeline(options=options)
    ingest(pipeline, prepare(options))
    job = unpacked(pipeline.to_runner_api().SerializeToString())
    assert leaks(job) == []
    assert b"SINK_PASSWORD" in job, "what is submitted says where the password is"
    assert leaks(repr(options.get_all_options())) == []


def run(*arguments: str, **environment: str | None) -> "subprocess.CompletedProcess[str]":
    whole = {name: value for name, value in {**os.environ, **environment}.items() if value is not None}
    return subprocess.run([SLUICE, *arguments], env=whole, capture_output=True, text=True, timeout=120, check=False)


def test_what_is_missing_or_wrong_is_said_without_the_password(sink: str, tmp_path: Path) -> None:
    missing = run("audit", "--sink", sink, SINK_PASSWORD=None)
    assert missing.returncode == 2
    assert "SINK_PASSWORD" in missing.stderr
    assert "hint" in missing.stderr
    wrong = run("audit", "--sink", sink, SINK_PASSWORD="hunter2 is wrong")
    assert wrong.returncode == 2
    assert "Authentication failed" in wrong.stderr
    absent = run("audit", "--sink", sink.replace("password_env=SINK_PASSWORD", "password_file=/absent"))
    assert absent.returncode == 2
    assert "/absent" in absent.stderr
    warned = run("audit", "--sink", sink.replace("me@", f"me:{QUOTED}@").partition("?")[0])
    assert warned.returncode == 0
    assert "warning: --sink has a password in it" in warned.stderr
    for done in (missing, wrong, absent, warned):
        assert leaks(done.stdout + done.stderr) == []
        assert "Traceback" not in done.stderr


def test_a_new_password_needs_no_restart(guarded: ClickHouseEngine, tmp_path: Path) -> None:
    """The server is let in with another one, and the file has it by then."""
    word = tmp_path / "password"
    word.write_text("first\n")
    with ClickHouseEngine(tmp_path / "engine", "me", "first") as server:
        client = shared(f"clickhouse://me@127.0.0.1:{server.port}/default?password_file={word}")
        assert client.rows("SELECT 1") == [(1,)]
        server.stop()
        server._password = "second"
        word.write_text("second\n")
        server.start()
        assert client.rows("SELECT 2") == [(2,)]


# Where options come from.


@pytest.mark.parametrize(
    ("option", "environment", "file", "expected"),
    [
        ("--step=1", "2", "3", "1"),
        ("--step=1", None, None, "1"),
        ("", "2", "3", "2"),
        ("", "2", None, "2"),
        ("", None, "3", "3"),
        ("", None, None, None),
        ("", "", "3", "3"),
    ],
)
def test_an_option_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, environment: str | None, file: str | None, expected: str | None
) -> None:
    taken: dict[str, Any] = {}
    monkeypatch.setattr(runners.cli.letters, "callback", lambda **options: taken.update(options))
    (tmp_path / "sluice.toml").write_text("step = 'of the current folder'\nsink = 'chdb:x'\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.toml").write_text("sink = 'chdb:db'\n" + (f"[letters]\nstep = '{file}'\nreason = 'a'\n" if file else ""))
    arguments = ["letters", "--config", "given.toml", *([option] if option else [])]
    done = CliRunner().invoke(runners.cli.main, arguments, env={"SLUICE_LETTERS_STEP": environment})
    assert done.exit_code == 0, done.output
    assert (taken["step"], taken["sink"]) == (expected, "chdb:db")
    assert taken["reasons"] == (("a",) if file else ())


def from_file(command: str, **content: Any) -> tuple[dict[str, Any], list[str]]:
    commands = runners.cli.main.commands
    return defaults(commands[command], commands, content)


def test_a_variable_is_the_environments_and_a_password_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST", "clickhouse")
    monkeypatch.setenv("PW", SECRET)
    monkeypatch.setenv("REGION", "eu")
    found, beam_options = from_file(
        "ingest",
        sink="clickhouse://me:${PW}@${HOST}/events?secure=true",
        ingest={
            "source": "kafka://me:${PW}@${HOST}/t?group=g",
            "health-port": 9,
            "region": "${REGION}",
            "streaming": True,
            "x": [1, 2],
        },
    )
    assert found == {
        "sink": "clickhouse://me@clickhouse/events?secure=true&password_env=PW",
        "sources": ["kafka://me@clickhouse/t?group=g&password_env=PW"],
        "health_port": 9,
    }
    assert beam_options == ["--region=eu", "--streaming", "--x=1", "--x=2"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"snik": "chdb:db"}, "snik: no command has such an option"),
        ({"ingets": {"source": "x"}}, "[ingets] is no command"),
        ({"audit": {"snik": "x"}}, "[audit] snik: no such option"),
        ({"sink": "chdb:${ABSENT}"}, "sink: ${ABSENT} is not set"),
        ({"sink": "clickhouse://me:a${ABSENT}@host"}, "sink: ${ABSENT} is not set"),
        ({"sink": "chdb:${ABSENT"}, "sink: ${ABSENT} is not set"),
    ],
)
def test_what_a_file_says_wrongly_is_refused(content: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        from_file("audit", **content)
    assert problem in refused.value.problem
    assert refused.value.hint


def test_a_file_that_is_absent_or_no_toml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("sink = ")
    for path in (tmp_path / "bad.toml", tmp_path / "absent.toml"):
        done = CliRunner().invoke(runners.cli.main, ["audit", "--config", str(path)])
        assert done.exit_code == 2
        assert "hint: --config names a TOML file of options" in done.output


def test_only_files_know_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere a dollar is a dollar: who wants a variable in a command line has a shell."""
    taken: dict[str, Any] = {}
    monkeypatch.setattr(runners.cli.audit, "callback", lambda **options: taken.update(options))
    CliRunner().invoke(runners.cli.main, ["audit", "--sink", "chdb:${HOME}"], env={"SLUICE_AUDIT_TEAM": "7"})
    assert (taken["sink"], taken["team"]) == ("chdb:${HOME}", 7)


def test_the_options_of_beam_in_a_file_come_before_those_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: dict[str, Any] = {}
    monkeypatch.setattr(runners.cli.ingest, "callback", lambda **options: taken.update(options))
    (tmp_path / "c.toml").write_text("sink = 'chdb:db'\n[ingest]\nsource = ['a', 'b']\nrunner = 'FlinkRunner'\n")
    done = CliRunner().invoke(runners.cli.main, ["ingest", "--config", str(tmp_path / "c.toml"), "--runner=X", "--y", "1"])
    assert done.exit_code == 0, done.output
    assert taken["sources"] == ("a", "b")
    assert taken["beam_options"] == ("--runner=FlinkRunner", "--runner=X", "--y", "1")
