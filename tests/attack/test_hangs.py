"""C2: a worker or a runner that hangs is noticed, said, and replaced; waiting for ClickHouse is said too, and is no hang."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipelines.produce import messages_of, open_topic, produce
from tests.faults.streams import Count, KafkaTopic, Load, Stream, new_tables
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import free_port, wait_until

HEARTBEAT, PROGRESS = 6, 12  # seconds; by default 30 and 120


class Scene:
    """A stream that is impatient, and what it says of itself."""

    def __init__(self, kafka: Kafka, folder: Path) -> None:
        self.load = Load(folder, 2_000, seed=24)
        self._messages = list(messages_of((str(self.load.folder),)))
        self.engine = ClickHouseEngine(folder / "engine")
        self.engine.start()
        self.sink = new_tables(self.engine)
        self.topic = KafkaTopic(kafka)
        self._port = free_port()
        impatient = f"--health-port={self._port} --heartbeat-timeout={HEARTBEAT} --progress-timeout={PROGRESS}".split()
        self.stream = Stream(self.topic, self.sink, self.load.teams, folder, *impatient)

    def send_first(self) -> None:
        """Send half of the messages, and wait until they are stored."""
        produce(self._messages[: len(self._messages) // 2], open_topic(self.topic.to), rate=4_000)
        wait_until(lambda: self.topic.done() > 0 and self.topic.unacknowledged() == 0, 60, "all acknowledgements")

    def send_rest(self) -> None:
        produce(self._messages[len(self._messages) // 2 :], open_topic(self.topic.to), rate=4_000)

    def ready(self) -> tuple[int, str]:
        return self._get("/readyz")

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        families = text_string_to_metric_families(self._get("/metrics")[1])
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)

    def _get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def finish(self) -> None:
        wait_until(lambda: self.topic.unacknowledged() == 0, 90, "all acknowledgements")
        wait_until(lambda: self.ready() == (200, "running\n"), 30, "readiness")
        assert self._get("/healthz")[0] == 200
        assert self.stream.stop() == 0
        Count(self.sink, self.load).assert_right()

    def close(self) -> None:
        self.stream.destroy()
        self.engine.stop()


@pytest.fixture
def scene(kafka: Kafka, tmp_path: Path) -> Iterator[Scene]:
    found = Scene(kafka, tmp_path)
    try:
        found.send_first()
        yield found
    finally:
        found.close()


@pytest.mark.parametrize(("name", "why"), [pytest.param("worker", "no heartbeat", marks=pytest.mark.attack), ("runner", "no progress")])
def test_what_stops_running_is_replaced(name: str, why: str, scene: Scene) -> None:
    os.kill(scene.stream.children()[name], signal.SIGSTOP)
    scene.send_rest()
    wait_until(lambda: scene.ready()[0] == 503 and why in scene.ready()[1], HEARTBEAT + PROGRESS + 20, "a reason")
    assert scene.metric("sluice_worker_running") == 0
    assert scene.metric("sluice_lag_age_seconds") > 0, "what is known of the lag is still told"
    wait_until(lambda: scene.metric("sluice_workers_hung_total") == 1, 30, "a worker that is killed")
    scene.finish()


def test_a_worker_ends_with_a_runner_that_ends_before_it_has_the_job(kafka: Kafka, tmp_path: Path) -> None:
    """Beam hands the job over without a time limit, and one that starts may be silent for long."""
    program = tmp_path / "prism"
    program.write_text(
        f"#!{sys.executable}\nimport socket, sys\n"
        "port = next(int(option.partition('=')[2]) for option in sys.argv if option.startswith('--job_port='))\n"
        "listener = socket.create_server(('127.0.0.1', port))\n"
        "while not listener.accept()[0].recv(1):\n    pass\n"
    )
    program.chmod(0o700)
    arguments = {"ours": {"source": [KafkaTopic(kafka).source], "sink": f"chdb:{tmp_path / 'db'}"}, "beam": []}
    command, environment = [sys.executable, "-m", "runners.worker"], {**os.environ, "SLUICE_PRISM": str(program)}
    done = subprocess.run(command, input=json.dumps(arguments), env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 1, done.stderr
    assert "the runner ended with code 0 before the job was handed over" in done.stderr


@pytest.mark.attack
def test_waiting_for_clickhouse_is_no_hang(scene: Scene) -> None:
    scene.engine.kill()
    scene.send_rest()
    wait_until(lambda: scene.ready()[0] == 503 and "waiting for ClickHouse since" in scene.ready()[1], 30, "a reason")
    restarts = scene.metric("sluice_workers_restarted_total")
    left = scene.topic.unacknowledged()
    assert left > 0
    wait_until(lambda: scene.metric("sluice_lag_messages") == left, 30, "the truth about the lag")
    wait_until(lambda: scene.metric("sluice_workers_restarted_total") > restarts, 120, "a worker that gives up after a minute")
    assert scene.metric("sluice_workers_hung_total") == 0, f"it waited for more than {PROGRESS} s"
    code, reason = scene.ready()
    assert code == 503
    assert "waiting for ClickHouse since" in reason
    assert scene.metric("sluice_lag_messages") > 0
    scene.engine.start()
    scene.finish()
