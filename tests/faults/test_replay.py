"""`sluice replay` as its operator runs it: killed at several moments, and twice at once; then counted."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.audit import audit
from pipelines.generate import Plan, generate
from tests.faults.streams import SLUICE, new_tables
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.process import wait_until
from transforms.io.clickhouse import connect

EVENTS, INVALID = 1_500, 0.02


class Flood:
    """A server full of letters, since the registry knew nobody."""

    def __init__(self, engine: ClickHouseEngine, folder: Path) -> None:
        self.sink = new_tables(engine)
        self.truth = generate(Plan(events=EVENTS, out=str(folder / "in"), duplicates=0.05, invalid=INVALID, quota=0, teams=10))
        self.folder = folder
        nobody = folder / "nobody.toml"
        nobody.write_text('[[teams]]\nid = 99\ntokens = ["phc_nobody_has_it"]\n')
        subprocess.run(
            [SLUICE, "ingest", "--source", str(folder / "in"), "--sink", self.sink, "--teams", str(nobody)], check=True, capture_output=True
        )
        self.client = connect(self.sink)

    def replay(self, *options: str) -> "subprocess.Popen[bytes]":
        """Start a replay."""
        command = [SLUICE, "replay", "--sink", self.sink, "--teams", self.truth.teams, "--json", *options]
        with (self.folder / "replay.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def count(self, table: str) -> int:
        return int(self.client.rows(f"SELECT count() FROM {table}")[0][0])

    def assert_right(self) -> None:
        """Every event is there once, every letter has an end, and the books balance."""
        ids = self.client.rows("SELECT team_id, uuid FROM events_unique")
        assert len(ids) == len(set(ids)) == self.truth.stored
        statuses: dict[str, int] = dict(self.client.rows("SELECT status, count() FROM letters WHERE attempt = 1 GROUP BY status"))
        assert statuses == {"replayed": EVENTS - self.truth.rejected, "failed_again": self.truth.rejected}
        result = audit(self.client)
        assert result.balanced, [*map(str, result.differences)]
        compared = self.client.rows(
            "SELECT sum(count), (SELECT count() FROM dead_letters FINAL WHERE _receipt IN"
            " (SELECT receipt FROM receipts WHERE status = 'acknowledged')) FROM outcomes FINAL WHERE outcome = 'rejected'"
        )
        assert compared[0][0] == compared[0][1]


@pytest.fixture
def flood(engine: ClickHouseEngine, tmp_path: Path) -> Any:
    made = Flood(engine, tmp_path)
    yield made
    made.client.close()


MOMENTS: dict[str, Callable[[Flood], bool]] = {
    "letters are marked": lambda flood: flood.count("replays") > 0,
    "receipts are open": lambda flood: flood.count("receipts WHERE source LIKE 'letters:%'") > 0,
    "some events are stored": lambda flood: flood.count("events") > 0,
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_replay_that_is_killed_and_run_again_doubles_and_loses_nothing(flood: Flood, moment: str) -> None:
    replay = flood.replay("--rate", "100")
    try:
        wait_until(lambda: MOMENTS[moment](flood), 120, moment)
        assert replay.poll() is None, "it was to be killed in the middle"
    finally:
        replay.kill()
        replay.wait()
    assert flood.count("receipts WHERE source LIKE 'letters:%' AND status = 'acknowledged'") == 0
    assert flood.count("events") < flood.truth.stored
    assert flood.replay().wait(300) == 0
    flood.assert_right()


def test_two_replays_at_once_show_each_event_once(flood: Flood) -> None:
    replays = [flood.replay(), flood.replay()]
    assert [replay.wait(300) for replay in replays] == [0, 0]
    ids = flood.client.rows("SELECT team_id, uuid FROM events_unique")
    assert len(ids) == len(set(ids)) == flood.truth.stored
    assert flood.count("replays") >= EVENTS
    assert flood.replay("--include-replayed").wait(300) == 0
    flood.assert_right()
