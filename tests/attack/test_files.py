"""The same files are the same files, whenever they come (A4), under whatever name, and however much they have grown since."""

import gzip
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console

from pipelines.audit import audit
from pipelines.compact import compact
from runners.ingest import run_ingest
from runners.results import Summary
from schemas.tables import migrations
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.clickhouse.embedded import EmbeddedClient

SECOND, DAY = 10**6, 86_400 * 10**6  # microseconds
NOW = 1_795_000_000 * SECOND
TOKEN = "phc_team"


class Ingest(Protocol):
    """Ingest files some days after NOW, as a run that knows nothing but the tables."""

    def __call__(self, days: float, *sources: Path) -> Summary:
        """Return what became of the events."""


@pytest.fixture
def ingest(sink: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ingest]:
    def run(days: float, *sources: Path) -> Summary:
        monkeypatch.setattr("pipelines.store.time_ns", lambda: 1000 * int(NOW + days * DAY))
        options = PipelineOptions([], source=[str(source) for source in sources], sink=sink)
        return run_ingest(options, Console(stderr=True, force_terminal=False))[1]

    yield run
    close_all()


def event(number: int, uuid: bool = True, **more: Any) -> bytes:
    known = {"uuid": str(UUID(int=number, version=4))} if uuid else {}
    return json.dumps({"event": "e", "distinct_id": "d", "token": TOKEN, "properties": {"n": number}, **known, **more}).encode() + b"\n"


def events(*numbers: int) -> bytes:
    """Return lines, of which every third has no uuid."""
    return b"".join(event(number, uuid=number % 3 > 0) for number in numbers)


def write(path: Path, content: bytes, days: float = 0.0) -> Path:
    """Write a file, some days after NOW."""
    path.write_bytes(content)
    return touch(path, days)


def touch(path: Path, days: float) -> Path:
    os.utime(path, ns=(0, int(NOW + days * DAY) * 1000))
    return path


def assert_once(client: Client, *numbers: int) -> None:
    """Each event is there once, now and when all merges and `compact` are done, and the audit balances."""
    shown = "SELECT toInt64(JSONExtractInt(properties, 'n')) AS n, count() FROM {} GROUP BY n ORDER BY n"
    expected = [(number, 1) for number in sorted(numbers)]
    assert client.rows(shown.format("events_unique")) == expected
    compact(client, full=True)
    client.command("OPTIMIZE TABLE events FINAL")
    for table in ("events", "events_unique"):
        assert client.rows(shown.format(table)) == expected
    result = audit(client)
    assert result.balanced, [*map(str, result.differences)]


FIRST = range(1, 31)
LATER = range(31, 41)


def again(path: Path) -> list[Path]:
    return [path]


def touched(path: Path) -> list[Path]:
    return [touch(path, 9)]


def copied(path: Path) -> list[Path]:
    return [touch(Path(shutil.copy(path, path.with_name("copy.txt"))), 200)]


def moved(path: Path) -> list[Path]:
    return [path.rename(path.with_name("moved.jsonl"))]


def copied_twice(path: Path) -> list[Path]:
    return [*copied(path), path]


def grown(path: Path) -> list[Path]:
    return [write(path, path.read_bytes() + events(*LATER), 300)]


def grown_and_moved(path: Path) -> list[Path]:
    return [write(path.with_name("new.jsonl"), path.read_bytes() + events(*LATER), 300)]


def grown_twice(path: Path) -> list[Path]:
    middle = write(path.with_name("middle.jsonl"), path.read_bytes() + events(*LATER[:5]), 100)
    return [write(path, path.read_bytes() + events(*LATER), 300), middle]


CHANGES: dict[str, tuple[Callable[[Path], list[Path]], list[int]]] = {
    change.__name__: (change, [*FIRST] if change not in (grown, grown_and_moved, grown_twice) else [*FIRST, *LATER])
    for change in (again, touched, copied, moved, copied_twice, grown, grown_and_moved, grown_twice)
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_file_long_after(tmp_path: Path, ingest: Ingest, sink: str, change: str) -> None:
    days = 9 if change == "again" else 400
    changed, numbers = CHANGES[change]
    path = write(tmp_path / "in.jsonl", events(*FIRST))
    assert ingest(1, path).stored == len(FIRST)
    files = changed(path)
    assert ingest(days, *files).stored == len(numbers) - len(FIRST)
    assert ingest(2 * days, *files).stored == 0
    assert_once(shared(sink), *numbers)


def test_what_is_compressed_and_has_grown(tmp_path: Path, ingest: Ingest, sink: str) -> None:
    path = write(tmp_path / "in.gz", gzip.compress(events(*FIRST)))
    ingest(1, path)
    write(path, path.read_bytes() + gzip.compress(events(*LATER)), 300)
    assert ingest(300, path).stored == len(LATER)
    assert_once(shared(sink), *FIRST, *LATER)


def test_files_of_equal_content_and_beginnings_of_others_in_one_run(tmp_path: Path, ingest: Ingest, sink: str) -> None:
    write(tmp_path / "a.jsonl", events(*FIRST, *LATER), -1)
    write(tmp_path / "b.jsonl", events(*FIRST), -300)
    write(tmp_path / "c.jsonl", events(*FIRST), -600)
    assert ingest(0, tmp_path).stored == len(FIRST) + len(LATER)
    assert ingest(30, tmp_path).stored == 0
    assert_once(shared(sink), *FIRST, *LATER)


def test_another_file_under_an_old_name_is_another(tmp_path: Path, ingest: Ingest, sink: str) -> None:
    """Its first line is the same bytes at the same place, without a uuid: of the day before it was another event."""
    path = write(tmp_path / "today.jsonl", event(3, uuid=False) + events(1))
    ingest(0, path)
    write(path, event(3, uuid=False) + events(2), 1)
    assert ingest(1, path).stored == 2
    assert ingest(30, path).stored == 0
    assert shared(sink).rows("SELECT JSONExtractInt(properties, 'n') AS n, count() FROM events_unique GROUP BY n ORDER BY n") == [
        (1, 1), (2, 1), (3, 2),
    ]  # fmt: skip


def test_what_was_read_by_a_release_without_the_ledger(tmp_path: Path, ingest: Ingest, sink: str) -> None:
    path = write(tmp_path / "in.jsonl", events(*FIRST), 1)  # then the arrival was the start of the run
    ingest(1, path)
    client = shared(sink)
    client.command("TRUNCATE TABLE files")
    for _ in range(2):  # the second time after it was interrupted
        for statement in next(step for step in migrations() if step.version == 9).statements:
            client.command(statement)
    write(tmp_path / "other.jsonl", events(*LATER), -100)
    assert ingest(300, touch(path, 299), tmp_path / "other.jsonl").stored == len(LATER)
    assert ingest(600, touch(path.rename(tmp_path / "moved.jsonl"), 500)).stored == 0
    assert_once(shared(sink), *FIRST, *LATER)


@pytest.mark.parametrize(
    ("modified", "arrival"),
    [(-100.0, NOW - 100 * DAY), (10.0, NOW), (-NOW / DAY, NOW), (315_532_800 * SECOND / DAY - NOW / DAY, NOW)],
    ids=["written long ago", "written in the future", "written in 1970", "written in 1980, as archives say"],
)
def test_a_new_file_arrives_when_it_was_written(tmp_path: Path, ingest: Ingest, sink: str, modified: float, arrival: int) -> None:
    path = write(tmp_path / "in.jsonl", events(*FIRST), modified)
    ingest(0, path)
    assert shared(sink).rows("SELECT DISTINCT toUnixTimestamp64Micro(_timestamp) FROM events") == [(arrival,)]
    assert ingest(20, touch(path, 15)).stored == 0


def test_a_quota_holds_in_an_hour_of_any_age(tmp_path: Path, sink: str) -> None:
    """Usage was once kept for 40 days."""
    teams = tmp_path / "teams.toml"
    teams.write_text(f'[[teams]]\nid = 1\ntokens = ["{TOKEN}"]\n[teams.limits]\nevents_per_hour = 10\n')
    for first in (0, 10, 20):
        lines = [{"uuid": str(UUID(int=first + n + 1)), "distinct_id": "d", "token": TOKEN, "data": '{"event": "e"}'} for n in range(8)]
        path = tmp_path / f"{first}.jsonl"
        path.write_text("\n".join(json.dumps({**line, "now": "2024-05-01T10:00:00Z"}) for line in lines))
        options = PipelineOptions([], source=[str(path)], sink=sink, teams=str(teams))
        run_ingest(options, Console(stderr=True, force_terminal=False))
        shared(sink).command("OPTIMIZE TABLE usage FINAL")
    assert shared(sink).rows("SELECT count() FROM events_unique") == [(10,)]
    assert shared(sink).rows("SELECT sum(count) FROM outcomes FINAL WHERE reason = 'events_per_hour'") == [(14,)]


class Killed(BaseException):
    """The end of a process."""


def test_killed_at_each_of_its_inserts(tmp_path: Path, ingest: Ingest, sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between entering a file and storing its events, and each time months later."""
    write(tmp_path / "a.jsonl", events(*FIRST), 0)
    write(tmp_path / "b.jsonl", events(*FIRST, *LATER), 200)
    insert, left = EmbeddedClient.insert, 0

    def insert_and_die(self: EmbeddedClient, table: str, *arguments: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            insert(self, table, *arguments, **options)
            raise Killed
        insert(self, table, *arguments, **options)

    monkeypatch.setattr(EmbeddedClient, "insert", insert_and_die)
    for days in count(300, 300):
        left = days // 300
        with suppress(Killed, RuntimeError):  # Beam makes the one of the other where it likes
            ingest(days, tmp_path)
        if left > 0:
            break
    assert days >= 4 * 300
    left = 0
    assert ingest(days + 300, tmp_path).stored == 0
    assert_once(shared(sink), *FIRST, *LATER)
