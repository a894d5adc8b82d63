"""A fault of our own rejects what was accepted before: the job stops and lag grows. One customer's rubbish stops nothing."""

import re
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.streams import SLUICE, Count, KafkaTopic, Load, Stream, new_tables, stored
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import free_port, wait_until
from transforms.io.clickhouse import connect

RATE = 600
LEAK = 1_000  # letters until it opens, at this rate, of a history of seconds


class Scene:
    """A stream of many teams, whose registry can be changed under it."""

    def __init__(self, kafka: Kafka, engine: ClickHouseEngine, folder: Path, events: int) -> None:
        self.engine = engine
        self.load = Load(folder, events, seed=11)
        self.teams = Path(self.load.teams)
        self.good = self.teams.read_text()
        self.sink = new_tables(engine)
        self.topic = KafkaTopic(kafka)
        self.port = free_port()
        self.log = folder / "ingest.log"
        self.stream = Stream(self.topic, self.sink, self.load.teams, folder, "--health-port", str(self.port))
        self._producers = [self.produce(str(self.load.folder))]

    def produce(self, files: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([SLUICE, "produce", "--from", files, "--rate", str(RATE), "--to", self.topic.to])

    def replace_registry(self, text: str) -> None:
        fresh = self.teams.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.teams)

    def ready(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def rejected(self) -> int:
        client = connect(self.sink)
        ((count,),) = client.rows("SELECT count() FROM dead_letters FINAL WHERE reason = 'unknown_token'")
        client.close()
        return int(count)

    def finish(self) -> Count:
        """Wait until all is acknowledged; stop, and count."""
        assert all(producer.wait(120) == 0 for producer in self._producers)
        wait_until(lambda: self.topic.unacknowledged() == 0, 120, "all acknowledgements")
        assert self.stream.stop() == 0
        return Count(self.sink, self.load)

    def close(self) -> None:
        self.stream.destroy()
        for producer in self._producers:
            producer.kill()
            producer.wait()


@pytest.fixture
def scene(kafka: Kafka, engine: ClickHouseEngine, tmp_path: Path) -> Iterator[Scene]:
    found = Scene(kafka, engine, tmp_path, events=18_000)
    yield found
    found.close()


def without_most_teams(registry: str) -> str:
    """Return a registry in which two of many teams are left."""
    head, *teams = re.split(r"(?m)^(?=\[\[teams\]\])", registry)
    return head + "".join(teams[4:6])


@pytest.mark.timeout(300)
def test_a_registry_without_most_tokens_stops_the_job_until_it_is_mended(scene: Scene) -> None:
    wait_until(lambda: stored(scene.engine, scene.sink) > 4_000, 60, "healthy traffic")
    usual = scene.rejected()
    scene.replace_registry(without_most_teams(scene.good))
    wait_until(lambda: scene.ready()[1].startswith("breaker open: "), 60, "the breaker")
    code, text = scene.ready()
    print(text)
    assert code == 503
    assert re.search(r"rejected \(unknown_token\), [0-2] of \d+ teams accepted", text)
    done, behind = scene.topic.done(), scene.topic.unacknowledged()
    wait_until(lambda: scene.topic.unacknowledged() > behind + 2 * RATE, 60, "lag")
    leaked = scene.rejected() - usual
    print(f"{leaked} leaked")
    assert leaked < LEAK
    scene.replace_registry(scene.good)
    wait_until(lambda: scene.topic.done() > done, 90, "the job goes on by itself")
    wait_until(lambda: scene.ready() == (200, "running\n"), 60, "it is ready")
    count = scene.finish()
    assert scene.rejected() - usual < LEAK
    print(count.row(), leaked, scene.rejected())
    assert count.audit.balanced, count.row()
