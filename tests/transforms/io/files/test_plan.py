import gzip
import os
from pathlib import Path
from uuid import UUID

import pytest
import zstandard

from schemas.errors import ConfigError, Unavailable
from tests.transforms.io.files.reading import ARRIVAL, RUN, parts, ranges
from transforms.io.files.plan import beginning_of, match, plan_ranges

FRAME = zstandard.compress(b"x\n")


def put(folder: Path, *names: str) -> list[str]:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}\n")
    return [str(folder / name) for name in names]


def paths(*patterns: object) -> list[str]:
    return [file.path for file in match([str(pattern) for pattern in patterns])]


def test_a_file_is_matched_with_its_size_and_when_it_was_written(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "a.jsonl")
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    assert match([path]) == match([f"{tmp_path}/*"]) == [(path, 3, 1_700_000_000_123_456)]


def test_files_are_sorted_and_each_comes_once(tmp_path: Path) -> None:
    b, a = put(tmp_path, "b.log", "a.log")
    assert paths(b, tmp_path / "*.log", a, tmp_path / "./x/../b.log") == [a, b]


def test_a_time_that_beam_rounds_makes_no_second_file(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "a.log")
    for micros in range(1_700_000_000_000_000, 1_700_000_000_000_050):
        os.utime(path, ns=(0, micros * 1_000 + 999))
        assert paths(path, tmp_path / "*.log") == [path]


def test_a_relative_path_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = put(tmp_path, "a.jsonl")
    monkeypatch.chdir(tmp_path)
    assert paths("a.jsonl") == paths("*.jsonl") == paths(".") == [path]


def test_a_star_stays_in_its_folder_and_two_do_not(tmp_path: Path) -> None:
    top, inner = put(tmp_path, "a.log", "in/b.log")
    assert paths(tmp_path / "*.log") == [top]
    assert paths(tmp_path / "**.log") == [top, inner]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_folder_stands_for_its_data_files(tmp_path: Path, slash: str) -> None:
    data = put(tmp_path, "a.avro", "b.json", "c.jsonl", "d.jsonl.gz", "e.ndjson.zst", "f.parquet")
    put(tmp_path, "teams.toml", "notes.txt", ".a.jsonl.part", "_temporary.json", ".b.json.crc", "in/g.jsonl")
    assert paths(f"{tmp_path}{slash}") == data


def test_an_empty_folder_matches_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="matches no file"):
        match([str(tmp_path)])


@pytest.mark.parametrize("name", ["with space.jsonl", "x[1].jsonl", "what?.jsonl", "star*.jsonl", "ü\n.jsonl"])
def test_names_with_special_characters(tmp_path: Path, name: str) -> None:
    (path,) = put(tmp_path, name)
    put(tmp_path, "x1.jsonl", "star_.log")
    assert paths(path) == [path]
    assert path in paths(tmp_path)


def test_a_folder_with_glob_characters_is_not_another(tmp_path: Path) -> None:
    odd, _ = put(tmp_path, "day[1]/a.jsonl", "day(1)/a.jsonl")
    assert paths(tmp_path / "day[1]") == [odd]


@pytest.mark.parametrize("pattern", ["missing.jsonl", "*.missing", "missing/*.jsonl", "missing/"])
def test_a_pattern_without_a_file_is_refused_by_name(tmp_path: Path, pattern: str) -> None:
    put(tmp_path, "a.jsonl")
    with pytest.raises(ConfigError, match="matches no file") as caught:
        match([str(tmp_path), f"{tmp_path}/{pattern}"])
    assert f"{tmp_path}/{pattern}" in caught.value.problem
    assert "--allow-empty" in caught.value.hint


def test_a_pattern_may_match_nothing_if_that_is_allowed(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "a.jsonl")
    assert paths(path) == [file.path for file in match([path, f"{tmp_path}/*.missing"], allow_empty=True)]
    assert match([f"{tmp_path}/missing.jsonl"], allow_empty=True) == []


def test_a_broken_link_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(ConfigError, match="matches no file"):
        match([str(tmp_path / "a.jsonl")])


@pytest.mark.parametrize("pattern", ["pipe", "p*"])
def test_a_pipe_is_refused(tmp_path: Path, pattern: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="not a regular file"):
        match([str(tmp_path / pattern)])


def test_a_name_that_is_not_text_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")).write_bytes(b"{}")
    with pytest.raises(ConfigError, match="not UTF-8"):
        match([str(tmp_path)])


def test_an_unknown_filesystem_is_refused() -> None:
    with pytest.raises(ConfigError, match="no known filesystem"):
        match(["nowhere://bucket/a.jsonl"])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "lines"),
        (b"{}", "lines"),
        (b'{"event":"x"}\n', "lines"),
        (b"PAR", "lines"),
        (gzip.compress(b"", mtime=0), "gzip"),
        (FRAME, "zstd"),
        (b"\x50\x2a\x4d\x18\x00\x00\x00\x00" + FRAME, "zstd"),
        (b"Obj\x01...", "avro"),
        (b"PAR1...", "parquet"),
    ],
)
def test_the_format_is_told_by_content(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "named.parquet.gz"
    path.write_bytes(content)
    assert beginning_of(str(path)).format == expected


def test_what_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"cannot be opened: .*directory"):
        beginning_of(str(tmp_path))


@pytest.mark.parametrize(
    ("size", "range_bytes", "bounds"), [(10, 10, [0, 10]), (10, 4, [0, 3, 6, 10]), (3, 1, [0, 1, 2, 3]), (0, 4, [0, 0])]
)
def test_ranges_cover_the_file(tmp_path: Path, size: int, range_bytes: int, bounds: list[int]) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * size)
    found = ranges(path, range_bytes)
    assert [part.start for part in found] + [found[-1].end] == bounds
    assert [part.end for part in found] == bounds[1:]
    assert {(part.path, part.format, part.size, part.arrival) for part in found} == {(str(path), "lines", size, ARRIVAL)}


@pytest.mark.parametrize("content", [gzip.compress(b"abc", mtime=0), FRAME])
def test_a_compressed_file_is_one_range(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(content)
    assert [(part.start, part.end) for part in ranges(path, 1)] == [(0, len(content))]


def test_receipts_depend_on_run_file_and_range(tmp_path: Path) -> None:
    a, b = put(tmp_path, "a", "b")
    receipts = [part.receipt for path in (a, b) for run in (RUN, UUID(int=8)) for part in parts(path, 3, run, range_bytes=1)]
    assert len(set(receipts)) == len(receipts) == 12
    assert all(0 < receipt < 1 << 64 for receipt in receipts)


def test_receipts_are_the_same_in_each_attempt(tmp_path: Path) -> None:
    (path,) = put(tmp_path, "a")
    first, second = (parts(path, 3, RUN, arrival, 2) for arrival in (1, 2))
    assert [part.receipt for part in first] == [part.receipt for part in second]
    (part,) = parts("/dev/null", 0, UUID(int=1))
    assert part.receipt == 9050008876681501026  # in any process


def test_all_files_are_planned_in_order(tmp_path: Path) -> None:
    files = match(put(tmp_path, *(f"{number:02}" for number in range(40))))
    assert [part.path for part in plan_ranges(files, RUN, ARRIVAL, 2)] == [file.path for file in files for _ in range(2)]
