"""A file is known by what is in it: plain rules first, then the table, then any history of files."""

import gzip
import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from schemas.errors import Unavailable
from schemas.limits import EARLIEST_ARRIVAL
from schemas.message import FileRange
from tests.transforms.io.files.fake_files import FakeFiles
from tests.transforms.io.files.reading import RUN
from transforms.io.clickhouse import Client
from transforms.io.files import identity, ledger
from transforms.io.files.identity import (
    HEAD_BYTES,
    Beginning,
    Known,
    KnownFiles,
    StoredFile,
    Stretch,
    arrival_of,
    contents,
    head_of,
    resolve,
)
from transforms.io.files.ledger import FileLedger
from transforms.io.files.plan import beginnings, match, plan_ranges
from transforms.io.files.read import read_range

DAY = 86_400 * 10**6
NOW = 1_795_000_000 * 10**6
LINES = Beginning("lines", 7)


def stored(path: Path) -> StoredFile:
    (file,) = match([str(path)])
    return file


@pytest.mark.parametrize(
    ("modified", "arrival"),
    [(NOW - 1, NOW - 1), (NOW + 1, NOW), (0, NOW), (EARLIEST_ARRIVAL - 1, NOW), (EARLIEST_ARRIVAL, EARLIEST_ARRIVAL), (-5, NOW)],
)
def test_a_new_file_arrives_when_it_was_written_if_that_can_be(modified: int, arrival: int) -> None:
    assert arrival_of(StoredFile("a", 1, modified), NOW) == arrival


@pytest.mark.parametrize("size", [1, HEAD_BYTES, (1 << 20) - 1, (1 << 20) + 1, (3 << 20) + 5])
def test_a_beginning_is_known_by_what_it_is_known_by_alone(tmp_path: Path, size: int) -> None:
    whole, part = tmp_path / "whole", tmp_path / "part"
    data = os.urandom(4 << 20)
    whole.write_bytes(data)
    part.write_bytes(data[:size])
    (alone,) = contents(stored(part), ()).values()
    assert contents(stored(whole), [size, 1])[size] == alone
    assert contents(stored(whole), ())[4 << 20] != alone
    assert head_of(data[:size]) == (head_of(data) if size >= HEAD_BYTES else 0)


def test_a_store_is_asked_for_its_checksum_and_the_object_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFiles.reset({"fake://bucket/a": b"x"})
    monkeypatch.setattr(identity, "WITH_CHECKSUMS", ("fake",))
    monkeypatch.setattr(FakeFiles, "checksum", lambda self, path: "0123abcd")
    monkeypatch.setattr(FakeFiles, "open", None)
    assert contents(StoredFile("fake://bucket/a", 1), [1]) == {1: "fake:0123abcd"}


def test_a_store_that_does_not_answer_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeFiles.reset({"fake://bucket/a": b"x"})
    with pytest.raises(Unavailable, match="but had 2 when"):
        contents(StoredFile("fake://bucket/a", 2), [])
    monkeypatch.setattr(identity, "WITH_CHECKSUMS", ("fake",))
    with pytest.raises(Unavailable, match="fake://bucket/a has no checksum"):
        contents(StoredFile("fake://bucket/a", 1), [1])


def test_a_file_that_is_known() -> None:
    known = Known(7, 100, "xxh3:a", "first", 5)
    assert resolve(StoredFile("other", 100, NOW), LINES, {100: "xxh3:a"}, KnownFiles([known]), NOW) == ([Stretch(100, "first", 5)], None)


def test_a_file_that_has_grown_twice() -> None:
    known = KnownFiles([Known(7, 10, "xxh3:a", "p", 5), Known(7, 20, "xxh3:b", "q", 6), Known(7, 15, "xxh3:other", "r", 1)])
    stretches, new = resolve(StoredFile("p", 30, NOW), LINES, {10: "xxh3:a", 15: "xxh3:x", 20: "xxh3:b", 30: "xxh3:c"}, known, NOW + 1)
    assert new == Known(7, 30, "xxh3:c", "p", NOW)
    assert stretches == [Stretch(10, "p", 5), Stretch(20, "q", 6), Stretch(30, "p", NOW)]


def test_a_file_stays_as_it_was_when_it_was_entered() -> None:
    """Though its beginning has come as a file of its own since."""
    whole, early, late = Known(7, 30, "xxh3:c", "p", 6, 50), Known(7, 10, "xxh3:a", "q", 5, 49), Known(7, 20, "xxh3:b", "r", 4, 51)
    hashes = {10: "xxh3:a", 20: "xxh3:b", 30: "xxh3:c"}
    found = resolve(StoredFile("p", 30), LINES, hashes, KnownFiles([whole, early, late]), NOW)
    assert found == ([Stretch(10, "q", 5), Stretch(30, "p", 6)], None)


@pytest.mark.parametrize(
    ("before", "name", "arrival"),
    [
        (Known(0, 30, "path:p", "p", 5), "p", 5),  # of a release that had no ledger
        (Known(0, 29, "path:p", "p", 5), "p#cccc", NOW),
        (Known(8, 9, "xxh3:other", "p", 5), "p#cccc", NOW),
        (Known(8, 9, "xxh3:other", "q", 5), "p", NOW),
    ],
)
def test_a_name_is_never_that_of_two_files(before: Known, name: str, arrival: int) -> None:
    _, new = resolve(StoredFile("p", 30, NOW), LINES, {30: "xxh3:cccc"}, KnownFiles([before]), NOW)
    assert new == Known(7, 30, "xxh3:cccc", name, arrival)


@pytest.mark.parametrize(("kind", "ends"), [("lines", [5, 10]), ("gzip", [5, 10]), ("avro", []), ("parquet", [])])
def test_only_what_can_grow_is_looked_at_for_its_beginnings(kind: str, ends: list[int]) -> None:
    known = KnownFiles([Known(0, 5, "a", "", 0), Known(7, 10, "b", "", 0), Known(8, 11, "c", "", 0), Known(7, 30, "d", "", 0)])
    assert sorted(known.ends(StoredFile("p", 30), Beginning(kind, 7))) == ends


def test_of_two_runs_at_once_the_first_counts(sink: str, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one has looked before the first one's entry was there."""
    path = tmp_path / "a"
    path.write_bytes(b"x" * 300)
    (beginning,) = beginnings([stored(path)])
    first, second = ([(stored(path)._replace(modified=NOW - days * DAY), beginning)] for days in (0, 100))
    known_first = {}
    enter = ledger._Table.enter

    def enter_after_another(table: ledger._Table, new: list[Known]) -> None:
        monkeypatch.setattr(ledger._Table, "enter", enter)
        known_first.update(FileLedger(sink).stretches(first, NOW))
        enter(table, new)

    monkeypatch.setattr(ledger._Table, "enter", enter_after_another)
    assert FileLedger(sink).stretches(second, NOW) == known_first == {str(path): [Stretch(300, str(path), NOW)]}
    client.command("OPTIMIZE TABLE files FINAL")
    assert client.rows("SELECT count() FROM files") == [(1,)]
    assert FileLedger(sink).stretches(second, NOW) == known_first


CONTENTS = st.builds(
    lambda lines, cut, kind: {"lines": bytes, "gzip": lambda data: gzip.compress(data, mtime=0)}[kind](b"".join(lines)[: cut or None]),
    st.lists(st.sampled_from([b'{"a":%d}\n' % n * size for n in range(3) for size in (1, 40)]), max_size=4),
    st.sampled_from([0, 0, 0, 50, 255, 256, 257]),
    st.sampled_from(["lines", "lines", "gzip"]),
)
RUNS = st.lists(
    st.lists(st.tuples(st.sampled_from("abc"), CONTENTS, st.integers(0, 1_000)), min_size=1, max_size=3, unique_by=lambda file: file[0]),
    min_size=2,
    max_size=4,
)


@settings(max_examples=15, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RUNS)
def test_any_history_of_files(client: Client, sink: str, tmp_path: Path, runs: list[list[tuple[str, bytes, int]]]) -> None:
    """A file that came before gives the same messages from the same places at the same times, whatever came in between."""
    client.command("TRUNCATE TABLE files")
    seen: dict[bytes, list[tuple[str, int, int, bytes]]] = {}
    for day, files in enumerate(runs + runs):
        for name, content, modified in files:
            path = tmp_path / name
            path.write_bytes(content)
            os.utime(path, ns=(0, (NOW + modified * DAY) * 1000))
        paths = sorted(tmp_path / name for name, _, _ in files)
        ranges = list(plan_ranges(match([str(path) for path in paths]), RUN, NOW + day * 200 * DAY, 100, FileLedger(sink)))
        assert sorted({part.path for part in ranges}) == [str(path) for path in paths]
        for path in paths:
            found = read_all([part for part in ranges if part.path == str(path)])
            assert seen.setdefault(path.read_bytes(), found) == found
            assert len({place[:2] for place in found}) == len(found)
    places = [place for content, found in seen.items() if content[:1] == b"{" for place in found]
    for first, second in pairwise(sorted(places)):
        assert first[:2] != second[:2] or second[3].startswith(first[3])  # one that was cut


def read_all(ranges: list[FileRange]) -> list[tuple[str, int, int, bytes]]:
    """Return names, offsets and arrivals of messages, and what they are."""
    return [
        (messages.source, offset, messages.arrival, payload)
        for part in ranges
        for messages in read_range(part)
        for payload, offset in zip(messages.payloads, messages.offsets, strict=True)
    ]
