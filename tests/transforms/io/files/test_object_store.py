import gzip
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from schemas.errors import ConfigError, Unavailable
from tests.transforms.io.files.avro_files import container, record
from tests.transforms.io.files.fake_files import FakeFiles
from tests.transforms.io.files.reading import parts
from transforms.io.files.plan import match
from transforms.io.files.read import read_range

TEXTS = [b'{"number":%d}' % number for number in range(300)]
LINES = b"\n".join(TEXTS)


def parquet() -> bytes:
    file = BytesIO()
    pq.write_table(pa.table({"body": TEXTS}), file, row_group_size=100)
    return file.getvalue()


def avro() -> bytes:
    return container(record(body="bytes"), [[{"body": text} for text in TEXTS[first : first + 50]] for first in range(0, 300, 50)])


FILES = {"lines": LINES, "gzip": gzip.compress(LINES), "zstd": zstandard.compress(LINES), "avro": avro(), "parquet": parquet()}
formats = pytest.mark.parametrize("name", FILES)


@pytest.fixture(autouse=True)
def _objects() -> None:
    names = ["day/a.jsonl", "day/b.jsonl.gz", "day/notes.txt", "day/_tmp.json", "day/in/c.jsonl", "days.jsonl", "x*.jsonl"]
    FakeFiles.reset({f"fake://bucket/{name}": b"{}\n" for name in names} | {"fake://bucket/day/": b""})


def paths(*patterns: str) -> list[str]:
    return [file.path.removeprefix("fake://bucket/") for file in match([f"fake://bucket/{pattern}" for pattern in patterns])]


def test_patterns() -> None:
    assert paths("day/a.jsonl") == ["day/a.jsonl"]
    assert paths("day/*.jsonl") == ["day/a.jsonl"]
    assert paths("day/*") == ["day/_tmp.json", "day/a.jsonl", "day/b.jsonl.gz", "day/notes.txt"]
    assert paths("**.jsonl") == ["day/a.jsonl", "day/in/c.jsonl", "days.jsonl", "x*.jsonl"]


@pytest.mark.parametrize("folder", ["day", "day/"])
def test_folders(folder: str) -> None:
    assert paths(folder) == ["day/a.jsonl", "day/b.jsonl.gz"]


def test_a_pattern_without_an_object_is_refused() -> None:
    with pytest.raises(ConfigError, match="fake://bucket/none matches no file"):
        paths("none")


@pytest.mark.parametrize("pattern", ["day/a.jsonl", "day/*", "day/"])
def test_a_store_that_does_not_answer_is_unavailable(pattern: str) -> None:
    FakeFiles.listing_fails = True
    with pytest.raises(Unavailable, match="no answer"):
        paths(pattern)


def read(name: str) -> list[bytes]:
    path = "fake://bucket/file"
    FakeFiles.objects[path] = FILES[name]
    ranges = parts(path, len(FILES[name]), range_bytes=1_000)
    return [payload for part in ranges for messages in read_range(part) for payload in messages.payloads]


@formats
def test_every_format_is_read(name: str) -> None:
    assert read(name) == TEXTS


@formats
def test_an_outage_is_never_taken_for_a_broken_file(name: str) -> None:
    FakeFiles.fails_after = 1_000_000
    read(name)
    for reads in range(1_000_000 - FakeFiles.fails_after):
        FakeFiles.fails_after = reads
        with pytest.raises(Unavailable, match="fake://bucket/file cannot be read: no answer"):
            read(name)


def test_an_object_that_went_away_is_unavailable() -> None:
    (part, *_) = parts("fake://bucket/day/a.jsonl", 3)
    del FakeFiles.objects["fake://bucket/day/a.jsonl"]
    with pytest.raises(Unavailable, match="cannot be opened: no object"):
        list(read_range(part))
