from itertools import pairwise

import pytest

from pipelines.generate import Plan, generate
from pipelines.generate.plan import check
from schemas.errors import ConfigError


@pytest.mark.parametrize(
    ("option", "value", "limit"),
    [
        ("events", 0, "from 1 to 4,294,967,296"),
        ("events", -5, "from 1 to"),
        ("shape", "csv", "captured, event, batch, http"),
        ("format", "orc", "lines, avro, parquet"),
        ("compression", "lz4", "none, gzip, zstd"),
        ("duplicates", -0.1, "from 0 to 1"),
        ("duplicates", 1.1, "from 0 to 1"),
        ("duplicates", 0.99, "0.95"),
        ("invalid", 1.5, "from 0 to 1"),
        ("invalid", float("nan"), "from 0 to 1"),
        ("late", 2, "from 0 to 1"),
        ("quota", -1, "from 0 to 1,000"),
        ("teams", 0, "from 1 to 100,000"),
        ("files", 0, "from 1 to 100"),
        ("files", 101, "from 1 to 100"),
        ("days", 0, "from 1 to 366"),
        ("seed", -1, "from 0 to"),
        ("start", "yesterday", "2026-11-01"),
        ("start", "9999-12-31", "start"),
        ("start", "1969-12-31", "from 1971"),
        ("out", "gs://bucket/load", "local"),
        ("truth", "s3://bucket/truth", "local"),
        ("out", "", "local"),
    ],
)
def test_a_bad_value_is_named_with_its_limit(tmp_path, option, value, limit):
    values = {"events": 100, "out": str(tmp_path / "load"), option: value}
    with pytest.raises(ConfigError) as refused:
        generate(Plan(**values))
    assert option in refused.value.problem
    assert str(value) in refused.value.problem
    assert limit in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_out_that_is_a_file_is_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(ConfigError, match=r"out is .* which is a file"):
        generate(Plan(events=10, out=str(file)))
    with pytest.raises(ConfigError, match=r"out is .* cannot be made"):
        generate(Plan(events=10, out=str(file / "folder")))
    assert file.read_text() == "mine"


@pytest.mark.parametrize("name", ["teams.toml", "events-truth.jsonl", "truth.jsonl", "folder"])
def test_a_truth_file_in_the_way_is_refused(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match="truth is"):
        generate(Plan(events=10, out=str(tmp_path), truth=str(tmp_path / name)))


def test_files_of_another_load_are_not_mixed_with_this_one(tmp_path):
    generate(Plan(events=100, out=str(tmp_path), files=3))
    generate(Plan(events=200, out=str(tmp_path), files=3))
    with pytest.raises(ConfigError, match=r"events-00002\.jsonl is left of another load"):
        generate(Plan(events=200, out=str(tmp_path), files=2))


def test_spans_cover_every_position_once():
    plan = Plan(events=1_000_003, out="out", files=7)
    spans = [plan.span(number) for number in range(7)]
    assert spans[0][0] == 0
    assert spans[-1][1] == plan.events
    assert all(one[1] == other[0] for one, other in pairwise(spans))


def test_files_are_about_a_quarter_of_a_million_events():
    assert [Plan(events=events, out="out").file_count for events in (1, 250_000, 250_001, 10**8)] == [1, 1, 2, 400]


@pytest.mark.parametrize("values", [{"format": "avro"}, {"shape": "http"}])
def test_avro_has_no_zstd(tmp_path, values):
    with pytest.raises(ConfigError, match="compression is 'zstd' and the files are Avro"):
        generate(Plan(events=10, out=str(tmp_path), compression="zstd", **values))
    check(Plan(events=10, out=str(tmp_path), compression="zstd", **{**values, "format": "parquet"}))


def test_everything_may_be_invalid(tmp_path):
    check(Plan(events=10, out=str(tmp_path), invalid=1.0, duplicates=0))
