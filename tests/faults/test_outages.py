"""What a stream leans on goes away and comes back: lag grows, and then nothing is lost, nothing doubled, nothing dead-lettered."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.streams import SLUICE, Count, KafkaTopic, Load, Stream, new_tables, stored
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until

AWAY_SECONDS = 60
RATE = 500


class Scene:
    """A broker, a ClickHouse and a job of its own, with messages on their way."""

    def __init__(self, folder: Path, events: int) -> None:
        self.load = Load(folder, events, seed=3)
        self.engine = ClickHouseEngine(folder / "engine")
        self.kafka = Kafka(folder / "kafka")
        self.engine.start()
        self.kafka.start()
        self.sink = new_tables(self.engine)
        self.topic = KafkaTopic(self.kafka)
        self.stream = Stream(self.topic, self.sink, self.load.teams, folder)
        command = [SLUICE, "produce", "--from", str(self.load.folder), "--rate", str(RATE), "--to", self.topic.to]
        self.producer = subprocess.Popen(command)
        wait_until(lambda: stored(self.engine, self.sink) > 0, 60, "the first row")

    def finish(self) -> Count:
        """Wait until all is stored and acknowledged; stop, and count."""
        assert self.producer.wait(300) == 0
        wait_until(lambda: stored(self.engine, self.sink) >= len(self.load.expected) + self.load.made, 180, "all rows")
        wait_until(lambda: self.topic.unacknowledged() == 0, 60, "all acknowledgements")
        assert self.stream.stop() == 0
        return Count(self.sink, self.load)

    def close(self) -> None:
        self.stream.destroy()
        self.producer.kill()
        self.producer.wait()
        self.kafka.stop()
        self.engine.stop()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path, events=15_000)
    yield found
    found.close()


@pytest.mark.timeout(600)
def test_clickhouse_is_away_for_a_minute_and_the_broker_dies_meanwhile(scene: Scene) -> None:
    scene.engine.kill()
    time.sleep(AWAY_SECONDS / 2)
    scene.kafka.kill()
    scene.kafka.start()
    time.sleep(AWAY_SECONDS / 2)
    scene.engine.start()
    count = scene.finish()
    count.assert_right()
    # The audit has seen that each has its dead letter; an attempt that came to no end may have left another (docs/letters.md).
    assert count.audit.rejected == scene.load.rejected > 0, "those that were rubbish from the start"


@pytest.mark.timeout(600)
def test_the_broker_is_killed_and_comes_back(scene: Scene) -> None:
    for _ in range(2):
        scene.kafka.kill()
        time.sleep(2)
        scene.kafka.start()
        before = scene.topic.done()
        wait_until(
            lambda before=before: stored(scene.engine, scene.sink) > before or scene.topic.unacknowledged() == 0, 90, "the job reads again"
        )
    scene.finish().assert_right()
