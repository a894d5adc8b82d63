"""Tables that acknowledge an insert when it is on the disk."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.clickhouse.url import parse
from transforms.io.durability import Durability, differing, set_durability
from transforms.io.migrate import migrate, require_schema

# What an insert of one row does, between two lines that say so.
_INSERT = """
import os, sys, pyarrow as pa
from schemas.event import Event
from transforms.io.clickhouse import shared
from transforms.sink.rows import event_rows
client = shared(sys.argv[1])
rows = event_rows([Event(1, bytes(16), "e", "d", 0, 0, b"{}", "", False, 0, 1, 0, 0)])
os.write(2, b"begins")
client.insert("events", rows)
os.write(2, b"acknowledged")
"""


def test_all_tables_become_durable_and_not_again(client: Client) -> None:
    names = {
        name for (name,) in client.rows("SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'")
    }
    assert {"events", "event_ids", "unchecked_ids", "usage", "receipts", "outcomes", "runs", "dead_letters"} < names
    assert set(differing(client, Durability.FSYNC)) == names
    set_durability(client, Durability.FSYNC)
    assert differing(client, Durability.FSYNC) == []
    assert set(differing(client, Durability.NONE)) == names
    set_durability(client, Durability.NONE)
    assert differing(client, Durability.NONE) == []


@pytest.mark.parametrize("where", ["sink", "engine_url"])
def test_a_start_on_tables_that_differ_is_refused(where: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(where)
    client = shared(url)
    migrate(client)
    asked = shared(f"{url}?durability=fsync")
    with pytest.raises(ConfigError, match=r"durability=fsync is asked for, and \w+ is not so, nor \d+ other") as caught:
        require_schema(asked)
    assert caught.value.hint == f"run: sluice migrate --sink '{asked.where}' --durability fsync"
    set_durability(client, Durability.FSYNC)
    require_schema(asked)
    require_schema(client)
    with pytest.raises(ConfigError, match="durability=none is asked for"):
        require_schema(shared(f"{url}?durability=none"))


def test_a_new_database_is_as_its_url_says_and_keeps_it_when_tables_come(chdb_url: str) -> None:
    client = shared(f"{chdb_url}?durability=fsync")
    require_schema(client)
    assert differing(client, Durability.FSYNC) == []
    client.command("DROP TABLE runs_mv")
    client.command("DROP TABLE runs")
    client.command("ALTER TABLE sluice_migrations DELETE WHERE version > 6 SETTINGS mutations_sync = 2")
    migrate(shared(chdb_url))
    assert differing(client, Durability.FSYNC) == []
    close_all()


@pytest.mark.parametrize("durability", list(Durability))
def test_the_disk_has_it_before_it_is_acknowledged(sink: str, tmp_path: Path, durability: Durability) -> None:
    set_durability(shared(sink), durability)
    close_all()
    log = tmp_path / "strace"
    traced = ["strace", "-f", "-y", "-s", "20", "-o", str(log), "-e", "trace=fsync,fdatasync,/rename,write"]
    subprocess.run([*traced, sys.executable, "-W", "ignore", "-c", _INSERT, sink], check=True, capture_output=True)
    calls = log.read_text().partition('"begins"')[2].partition('"acknowledged"')[0]
    renamed = set(re.findall(r"rename\w*\(.*?/store/(\w+/[\w-]+)/tmp_insert_", calls))
    fsynced = set(re.findall(r"fsync\(\d+<[^>]*?/store/(\w+/[\w-]+)/", calls)) | set(
        re.findall(r"fdatasync\(\d+<[^>]*?/store/(\w+/[\w-]+)/", calls)
    )
    assert len(renamed) >= 4  # events and what its views fill
    assert (renamed <= fsynced) == (durability == Durability.FSYNC), calls[-3000:]


def test_what_a_url_may_say() -> None:
    assert parse("chdb:/db?durability=none").where == "chdb:/db?durability=none"
    url = "clickhouse://me@host:9000/db?durability=fsync&insert_quorum=2"
    assert parse(url).where == url
    for wrong in ("chdb:/db?durability=often", "chdb:/db?x=1", "clickhouse://h?durability=x", "clickhouse://h?insert_quorum=some"):
        with pytest.raises(ConfigError):
            parse(wrong)
