"""A deploy under load: the old job is stopped in order, the new one started, and lag stays small."""

import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.streams import SLUICE, Count, KafkaTopic, Load, Stream, new_tables, stored
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until

RATE = 1_000
LAG_SECONDS = 30


@pytest.mark.alone
@pytest.mark.timeout(300)
def test_a_deploy_leaves_half_a_minute_of_lag_at_most(kafka: Kafka, engine: ClickHouseEngine, tmp_path: Path) -> None:
    load, sink, topic = Load(tmp_path, 45_000, seed=5), new_tables(engine), KafkaTopic(kafka)
    stream = Stream(topic, sink, load.teams, tmp_path)
    producer = subprocess.Popen([SLUICE, "produce", "--from", str(load.folder), "--rate", str(RATE), "--to", topic.to])
    try:
        wait_until(lambda: topic.done() > 5_000, 60, "the old job at work")
        assert stream.stop() == 0
        left, done = topic.unacknowledged(), topic.done()
        stream.start()
        began = time.monotonic()
        most = _most_behind(topic, lambda: topic.done() > done and topic.unacknowledged() < RATE * 3)
        assert producer.poll() is None, "the load went on meanwhile"
        print(f"{left} messages left, {most} at most, caught up after {time.monotonic() - began:.1f} s")
        assert max(left, most) < RATE * LAG_SECONDS
        assert producer.wait(60) == 0
        wait_until(lambda: topic.unacknowledged() == 0, 60, "all acknowledgements")
        assert stream.stop() == 0
    finally:
        stream.destroy()
        producer.kill()
        producer.wait()
    count = Count(sink, load)
    count.assert_right()
    assert count.doubled == 0
    assert stored(engine, sink) == count.rows


def _most_behind(topic: KafkaTopic, is_caught_up: object) -> int:
    most, deadline = 0, time.monotonic() + LAG_SECONDS
    while not is_caught_up():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"{topic.unacknowledged()} messages behind after {LAG_SECONDS} s"
        most = max(most, topic.unacknowledged())
        time.sleep(0.2)
    return most
