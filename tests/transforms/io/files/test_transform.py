import gzip
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, is_empty

from schemas.errors import ConfigError
from schemas.message import FileRange, Messages
from schemas.outcomes import Report
from schemas.reasons import Reason
from tests.transforms.io.files.avro_files import container, record
from tests.transforms.io.files.reading import ARRIVAL, RUN, ranges
from transforms import coders  # noqa: F401 - registers them
from transforms.io.files import ReadFiles
from transforms.metrics import Metric, progress

RANGE_BYTES = 500
TEXTS = [b'{"number":%d}' % number for number in range(200)]
once = pytest.param([], id="once")
twice = pytest.param(["--direct_runner_bundle_repeat=1"], id="twice")


class Ledger:
    """Remembers, in this process, which receipts were opened, group by group."""

    opened: ClassVar[list[list[FileRange]]] = []

    def open_receipts(self, ranges: Sequence[FileRange]) -> None:
        self.opened.append(list(ranges))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five files of 200 messages each, one of them broken, and an empty one."""
    lines = b"\n".join(TEXTS)
    (tmp_path / "a b[1].jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl").write_bytes(gzip.compress(lines))
    (tmp_path / "c.json.gz").write_bytes(gzip.compress(lines + b"\n")[:-8])
    blocks = [[{"body": text} for text in TEXTS[first : first + 20]] for first in range(0, 200, 20)]
    (tmp_path / "d.avro").write_bytes(container(record(body="bytes"), blocks))
    pq.write_table(pa.table({"body": TEXTS}), tmp_path / "e.parquet", row_group_size=20)
    (tmp_path / "f.jsonl").write_bytes(b"")
    Ledger.opened.clear()
    return tmp_path


def step(*patterns: object, **options: Any) -> ReadFiles:
    return ReadFiles([str(pattern) for pattern in patterns], str(RUN), ARRIVAL, RANGE_BYTES, batch_size=30, **options)


def run(source: ReadFiles, options: list[str], check: Callable[[Any], None]) -> None:
    with beam.Pipeline(FnApiRunner(), options=PipelineOptions(options)) as pipeline:
        check(pipeline | "ReadFiles" >> source)


def files(folder: Path) -> list[FileRange]:
    return [part for path in sorted(folder.iterdir()) for part in ranges(path, RANGE_BYTES)]


@pytest.mark.parametrize("options", [once, twice])
def test_every_message_is_read_once(folder: Path, options: list[str]) -> None:
    def matches(found: list[Messages]) -> None:
        payloads = [(one.source, one.rejected, payload) for one in found for payload in one.payloads]
        sources = [str(path) for path in sorted(folder.iterdir())]
        expected = [(source, "", text) for source in sources[:5] for text in TEXTS]
        assert sorted(payloads) == sorted([*expected, (sources[2], Reason.UNREADABLE_FILE.value, b"")])
        assert {one.receipt for one in found} <= {part.receipt for part in files(folder)}
        assert max(len(one.payloads) for one in found) <= 30

    run(step(folder), options, lambda read: assert_that(read.messages, matches))


@pytest.mark.parametrize("options", [once, twice])
def test_every_range_is_reported_once(folder: Path, options: list[str]) -> None:
    def matches(found: list[Report]) -> None:
        covered = {(one.receipt, one.source, one.start, one.end) for one in found}
        assert covered == {(part.receipt, part.path, part.start, part.end) for part in files(folder)}
        assert len(found) == len(covered)
        assert sum(one.read or 0 for one in found) == 1_001
        assert [one.read for one in found if one.source.endswith("f.jsonl")] == [0]
        assert not any(one.parsed or one.tallies for one in found)

    run(step(folder), options, lambda read: assert_that(read.reports, matches))


def test_a_file_that_two_patterns_name_is_read_once(folder: Path) -> None:
    def matches(found: list[Report]) -> None:
        assert sum(one.read or 0 for one in found) == 200
        assert len({one.receipt for one in found}) == len(found)

    run(step(folder / "a*", folder / "a b[1].jsonl", folder / "?*1?.jsonl"), [], lambda read: assert_that(read.reports, matches))


def test_receipts_are_opened_before_their_ranges_are_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_with: list[int] = []

    def read_range(part: FileRange, batch_size: int) -> Iterator[Messages]:
        read_with.append(sum(map(len, Ledger.opened)))
        return iter([])

    monkeypatch.setattr("transforms.io.files.transform.read_range", read_range)
    run(step(folder, ledger=Ledger()), [], lambda read: assert_that(read.messages, is_empty()))
    assert [part for group in Ledger.opened for part in group] == files(folder)
    assert read_with == [len(files(folder))] * len(files(folder))


def test_receipts_are_opened_in_groups(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.io.files.transform.OPENED_AT_ONCE", 4)
    run(step(folder, ledger=Ledger()), [], lambda read: None)
    sizes = [len(group) for group in Ledger.opened]
    assert sum(sizes) == len(files(folder))
    assert set(sizes[:-1]) == {4}


def test_nothing_is_read_if_nothing_matches_and_that_is_allowed(tmp_path: Path) -> None:
    run(step(tmp_path / "*.jsonl", allow_empty=True), [], lambda read: assert_that(read.reports, is_empty()))


def test_a_missing_file_fails_the_job(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="matches no file"):
        run(step(tmp_path / "*.jsonl"), [], lambda read: None)


def test_bytes_are_counted(folder: Path) -> None:
    before = progress[Metric.BYTES_READ]
    run(step(folder), [], lambda read: None)
    assert progress[Metric.BYTES_READ] - before == sum(path.stat().st_size for path in folder.iterdir())


def test_the_outputs_have_types(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read = beam.Pipeline(FnApiRunner()) | step(tmp_path)
    assert not caplog.records
    assert (read.messages.element_type, read.reports.element_type) == (Messages, Report)


def test_it_is_pickled() -> None:
    assert pickle.loads(pickle.dumps(step("a", ledger=Ledger()))).patterns == ["a"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"patterns": []}, "patterns is"),
        ({"patterns": "a.jsonl"}, "patterns is"),
        ({"run": "today"}, "badly formed"),
        ({"range_bytes": 0}, "range_bytes is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_wrong_arguments_are_refused(wrong: dict[str, Any], said: str) -> None:
    arguments: dict[str, Any] = {"patterns": ["a"], "run": str(RUN), "now": ARRIVAL} | wrong
    with pytest.raises(ValueError, match=said):
        ReadFiles(**arguments)
