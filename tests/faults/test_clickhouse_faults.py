"""ClickHouse is slow, refuses, or answers too late: lag grows, and then nothing is lost. `make test-faults` prints the table."""

from pathlib import Path

import pytest

from tests.faults.clickhouse import TROUBLES, clickhouse_troubles
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka


@pytest.mark.timeout(600)
def test_lag_grows_and_nothing_is_lost(kafka: Kafka, tmp_path: Path) -> None:
    """Nothing is dead-lettered either, and no more is read than may be in flight: `clickhouse_troubles` looks at that on its way."""
    with ClickHouseEngine(tmp_path / "engine") as engine:
        found = clickhouse_troubles(kafka, engine, tmp_path, events=1_000, seconds=5)
    assert len(found) == len(TROUBLES)
    assert all(row["lost"] == 0 and row["stored"] > 0 for row in found)
    assert all(row["doubled"] == 0 for row, trouble in zip(found, TROUBLES, strict=True) if trouble.then != "kill")
