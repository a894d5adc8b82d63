"""Two jobs that store the same events at the same time, on purpose or by mistake: each id is shown once, and is one row after compact."""

import subprocess
import time
from pathlib import Path

from pipelines.produce import messages_of, open_topic, produce
from tests.faults.streams import SLUICE, Count, KafkaTopic, Load, Stream, compact_tables, new_tables
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until
from transforms.io.clickhouse import connect


def assert_once(sink: str, load: Load) -> None:
    """Assert that each id is there and shown once, and is one row after compact, which knows where the others came from."""
    before = Count(sink, load)
    print(before.row())
    before.assert_right()
    found = compact_tables(sink)
    assert found.alarms == []
    assert set(found.causes) <= {"two_jobs", "redelivered"}
    # The server merges some away by itself, before or after they are counted.
    assert found.found >= before.doubled >= found.removed
    after = Count(sink, load)
    after.assert_right()
    assert after.doubled == 0


def test_the_same_backfill_twice_at_once(engine: ClickHouseEngine, tmp_path: Path) -> None:
    load, sink = Load(tmp_path, 12_000, seed=8), new_tables(engine)
    command = [SLUICE, "ingest", "--source", str(load.folder), "--sink", sink, "--teams", load.teams]
    jobs = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [job.wait(240) for job in jobs] == [0, 0]
    assert_once(sink, load)


def test_two_jobs_on_one_topic_by_mistake(kafka: Kafka, engine: ClickHouseEngine, tmp_path: Path) -> None:
    load, sink, topic = Load(tmp_path, 12_000, seed=9), new_tables(engine), KafkaTopic(kafka)
    messages = list(messages_of([str(load.folder)]))
    streams = [Stream(topic, sink, load.teams, tmp_path) for _ in range(2)]
    client = connect(sink)
    try:
        # Bit by bit, until both are at work: whoever comes later finds nothing of what the other one has acknowledged.
        sent = 0
        while len(client.rows("SELECT run FROM receipts WHERE status = 'acknowledged' GROUP BY run")) < 2:
            assert sent < 6_000, "both jobs were to be at work after two minutes"
            produce(messages[sent : sent + 25], open_topic(topic.to))
            sent += 25
            time.sleep(0.5)
        produce(messages[sent:], open_topic(topic.to))
        wait_until(lambda: topic.unacknowledged() == 0, 120, "all acknowledgements")
        wait_until(lambda: not open_receipts(client), 120, "the end of both")
        assert [stream.stop() for stream in streams] == [0, 0]
    finally:
        client.close()
        for stream in streams:
            stream.destroy()
    assert_once(sink, load)


def open_receipts(client: object) -> int:
    ((count,),) = client.rows("SELECT count() FROM receipts FINAL WHERE status = 'open'")  # type: ignore[attr-defined]
    return int(count)
