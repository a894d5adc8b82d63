from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.capacity import CLICKHOUSE_US, PATH_US, SHUFFLE_US, STREAM_US, sized
from benchmarks.capacity import Load as Sized
from benchmarks.measure import measure, run
from benchmarks.rows import ROWS, Load
from benchmarks.rows.common import identify, parse, unique

LINES = [
    '{"uuid":"01a19467-e800-7e1a-a71e-55b6a58b6d41","event":"a","properties":{"distinct_id":7},"token":"t"}',
    '{"uuid":"{01A19467E8007E1AA71E55B6A58B6D41}","event":"b","properties":{},"distinct_id":"x","timestamp":"now-1","token":"t"}',
    '{"uuid":"01a19467-e800-7e1a-a71e-55b6a58b6d41","event":"c","properties":{},"token":"other"}',
    '{"event":"d","properties":{},"token":"t"}',
    '{"event":"e","properties":{},"token":"t"}',
]
DATA = bench._Data(Load([], ""), events=100, bytes=1000, unique=90, of_sluice=80)
TAKEN = {"seconds": 1, "cpu": 1, "apart": 0, "peak_mib": 1}


def test_an_id_is_a_token_and_a_uuid(tmp_path: Path) -> None:
    tmp_path.joinpath("lines").write_text("\n".join(LINES))
    assert unique([str(tmp_path / "lines")]) == 4
    assert identify(LINES[0]) == identify(LINES[1]) == parse(LINES[1])[0]
    assert parse(LINES[0])[1][2] == "7"


@pytest.mark.parametrize(
    ("row", "stored"), [("naive", 89), ("naive", 91), ("sluice", 90), ("clickhouse", 89), ("clickhouse", 101), ("before", 85)]
)
def test_a_row_that_has_stored_another_number_is_refused(row: str, stored: int) -> None:
    with pytest.raises(SystemExit, match=f"{row} stored {stored} rows"):
        bench._figures(row, DATA, TAKEN | {"stored": stored})


@pytest.mark.parametrize(("row", "stored"), [("naive", 90), ("sluice", 80), ("clickhouse", 95), ("before", 80), ("before", 90)])
def test_costs_are_an_event_that_was_read(row: str, stored: int) -> None:
    assert bench._figures(row, DATA, TAKEN | {"stored": stored})["cpu_us"] == 10_000


def test_a_row_that_cannot_be_run_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    taken = run("bytewax", DATA.load, str(tmp_path))
    assert "extra `bench`" in taken["unavailable"]
    assert "no package bytewax" in measure("bytewax", DATA.load)["unavailable"]
    assert "not available here: the packages" in bench._line({"title": ROWS["bytewax"].title} | taken)


def test_capacity_grows_with_the_rate_and_is_the_formula_of_its_page() -> None:
    one, ten = sized(Sized(1e6)), sized(Sized(1e7))
    assert one["events a second"] == 16_667
    assert one["worker cores"] == round(16_667 * (PATH_US - CLICKHOUSE_US + SHUFFLE_US + STREAM_US) / 1e6 / 0.6, 1)
    assert one["memory of ids, GB"] == round(1e6 * 60 * 24 * 0.5 * 8 * 18.8 / 1e9, 1)
    for name in ("worker cores", "memory of ids, GB", "ClickHouse cores", "ClickHouse disk, GB a day"):
        assert ten[name] == pytest.approx(10 * one[name], rel=0.15)
    assert sized(Sized(1e6, average=1.0))["memory of ids, GB"] == pytest.approx(2 * one["memory of ids, GB"], rel=0.01)
