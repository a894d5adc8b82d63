import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from transforms.io.clickhouse import Client, close_all, connect, shared

ONE_ROW = "CREATE TABLE t ENGINE = MergeTree ORDER BY n AS SELECT 1 AS n"


@contextmanager
def opened(path: Path | str) -> Iterator[Client]:
    client = connect(f"chdb:{path}")
    yield client
    client.close()


def run(program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, env=os.environ | environment, check=False
    )


def test_a_process_can_use_many_paths_one_after_another(tmp_path: Path) -> None:
    for name in ("a", "b", "c d", "é%41#'"):
        with opened(tmp_path / name) as client:
            client.command(ONE_ROW)

    for name in ("a", "b", "c d", "é%41#'"):
        with opened(tmp_path / name) as client:
            assert client.rows("SELECT n FROM t") == [(1,)]


def test_a_second_path_at_once_is_refused(tmp_path: Path) -> None:
    with opened(tmp_path / "first") as first, opened(tmp_path / "second") as second:
        first.command(ONE_ROW)

        with pytest.raises(ConfigError) as caught:
            second.rows("SELECT 1")
        assert f"chdb:{tmp_path}/second: this process has chdb:{tmp_path}/first open" in str(caught.value)
        assert "close the other client first" in caught.value.hint

        assert first.rows("SELECT n FROM t") == [(1,)]
        first.close()
        assert second.rows("SELECT 1") == [(1,)]


def test_two_clients_of_one_path_see_the_same(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as first, opened(f"{tmp_path}/x/../db") as second:
        first.command(ONE_ROW)

        assert second.rows("SELECT n, timezone() FROM t") == [(1, "UTC")]
        second.close()
        assert first.rows("SELECT n FROM t") == [(1,)]


def test_a_path_that_another_process_uses_is_refused(tmp_path: Path) -> None:
    program = """
import sys
from transforms.io.clickhouse import connect
client = connect("chdb:" + sys.argv[1])
client.rows("SELECT 1")
print("ready", flush=True)
sys.stdin.read()
client.close()
"""
    path = str(tmp_path / "db")
    other = subprocess.Popen([sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with other, opened(path) as client:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"ready\n"

        with pytest.raises(ConfigError, match=f"in use by process {other.pid}\nhint: one process at a time"):
            client.rows("SELECT 1")

        other.stdin.close()
        other.wait(30)
        assert client.rows("SELECT 1") == [(1,)]


def test_a_path_whose_process_was_killed_is_free(tmp_path: Path) -> None:
    program = f"""
import os, sys
from transforms.io.clickhouse import connect
client = connect("chdb:" + sys.argv[1])
client.command("{ONE_ROW}")
os.kill(os.getpid(), 9)
"""
    assert run(program, str(tmp_path / "db")).returncode == -9

    with opened(tmp_path / "db") as client:
        assert client.rows("SELECT n FROM t") == [(1,)]


@pytest.mark.parametrize("end", ["", "client.close()", "sys.exit(3)", "raise SystemExit(3)"])
def test_a_process_ends_as_it_wants_to(tmp_path: Path, end: str) -> None:
    program = f"""
import sys
from transforms.io.clickhouse import shared
client = shared("chdb:" + sys.argv[1])
client.command("{ONE_ROW}")
{end}
"""
    done = run(program, str(tmp_path / "db"))

    assert (done.returncode, done.stdout, done.stderr) == (3 if "3" in end else 0, "", "")


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/sluice", "/sys"])
def test_a_path_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / place

    with opened(path) as client, pytest.raises(ConfigError, match=f"chdb:{path}: cannot write there: .*\nhint: name a directory"):
        client.rows("SELECT 1")


def test_a_directory_is_made(tmp_path: Path) -> None:
    with opened(tmp_path / "a" / "b") as client:
        assert client.rows("SELECT 1") == [(1,)]

    assert (tmp_path / "a" / "b").is_dir()


def test_connecting_opens_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "db") as client:
        assert client.embedded
        assert client.where == f"chdb:{tmp_path}/db"
    assert list(tmp_path.iterdir()) == []


def test_the_zone_of_the_machine_does_not_matter(tmp_path: Path) -> None:
    program = """
import sys
from transforms.io.clickhouse import connect
client = connect("chdb:" + sys.argv[1])
print(client.rows("SELECT toString(toDateTime(0)), toDateTime('1970-01-01 00:00:05'), toStartOfDay(toDateTime(3600))"))
client.close()
"""
    done = run(program, str(tmp_path / "db"), TZ="America/New_York")

    assert (
        "('1970-01-01 00:00:00', datetime.datetime(1970, 1, 1, 0, 0, 5, tzinfo=datetime.timezone.utc), datetime.datetime(1970, 1, 1, 0, 0,"
        in done.stdout
    )


def test_any_of_the_engine_s_formats_can_be_had(chdb_url: str) -> None:
    assert shared(chdb_url).formatted("SELECT 1 AS a", "Markdown") == b"| a |\n|-:|\n| 1 |\n"
    assert shared(chdb_url).formatted("SELECT 1 AS a", "XML").startswith(b"<?xml")


def test_a_shared_client_is_one(tmp_path: Path) -> None:
    first = shared(f"chdb:{tmp_path}/db")

    assert shared(f"chdb:{tmp_path}/other/../db") is first
    assert shared(f"chdb:{tmp_path}/other") is not first
    assert shared("clickhouse://host/db") is shared("clickhouse://default@host:9000/db")
    assert shared("clickhouse://host/db") is not shared("clickhouse://host/other")

    close_all()
    assert shared(f"chdb:{tmp_path}/db") is first, "what is kept beside it may open it again"


def test_shared_clients_are_closed_together(tmp_path: Path) -> None:
    first = shared(f"chdb:{tmp_path}/first")
    first.command(ONE_ROW)

    close_all()

    with opened(tmp_path / "second") as second:
        assert second.rows("SELECT 1") == [(1,)]
    assert first.rows("SELECT n FROM t") == [(1,)]
    first.close()


def test_a_server_s_client_does_not_load_the_engine() -> None:
    program = "import sys; from transforms.io.clickhouse import shared; shared('clickhouse://host'); print('chdb' in sys.modules)"

    assert run(program).stdout == "False\n"
