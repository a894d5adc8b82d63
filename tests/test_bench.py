from pathlib import Path

import pytest

from benchmarks import __main__ as bench
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


@pytest.mark.parametrize(("row", "stored"), [("naive", 89), ("naive", 91), ("sluice", 90), ("clickhouse", 89), ("clickhouse", 101)])
def test_a_row_that_has_stored_another_number_is_refused(row: str, stored: int) -> None:
    with pytest.raises(SystemExit, match=f"{row} stored {stored} rows"):
        bench._figures(row, DATA, TAKEN | {"stored": stored})


@pytest.mark.parametrize(("row", "stored"), [("naive", 90), ("sluice", 80), ("clickhouse", 95)])
def test_costs_are_an_event_that_was_read(row: str, stored: int) -> None:
    assert bench._figures(row, DATA, TAKEN | {"stored": stored})["cpu_us"] == 10_000


def test_a_row_that_cannot_be_run_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    taken = run("bytewax", DATA.load)
    assert "extra `bench`" in taken["unavailable"]
    assert "no package bytewax" in measure("bytewax", DATA.load)["unavailable"]
    assert "not available here: the packages" in bench._line({"title": ROWS["bytewax"].title} | taken)
