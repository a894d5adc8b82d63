"""A stream through the whole path into ClickHouse inside the worker: `python -m benchmarks.stream [--broker kafka] [--rate 5000]`.

First a backlog is drained; then messages come at a steady rate. Latency is from the broker's time of a message until its row can be
queried, as the row's time of insert says. Broker, producer, Prism and ClickHouse share the machine with the job. Pub/Sub is Google's
emulator, which a laptop can run: what it can take is no measure of the service.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from pipelines.generate import Plan, generate
from runners.process import used
from tests.faults.streams import SLUICE, Broker, KafkaTopic, PubSubTopic, Stream
from tests.servers.kafka import Kafka
from tests.servers.process import free_port, wait_until
from tests.servers.pubsub import PubSub
from transforms.io.clickhouse import close_all, shared

MIB = 1 << 20


@contextmanager
def brokers(name: str, folder: Path) -> Iterator[Broker]:
    """Yield a topic of a broker that runs meanwhile."""
    if name == "kafka":
        with Kafka(folder / "kafka") as kafka:
            yield KafkaTopic(kafka)
    else:
        with PubSub(folder / "pubsub") as pubsub:
            os.environ["PUBSUB_EMULATOR_HOST"] = pubsub.address
            yield PubSubTopic(pubsub)


class Job:
    """A stream at work, as it tells of itself."""

    def __init__(self, topic: Broker, folder: Path, teams: str) -> None:
        self._port = free_port()
        self.sink = f"chdb:{folder / 'db'}"
        self.stream = Stream(topic, self.sink, teams, folder, "--health-port", str(self._port))

    def received(self) -> int:
        """Return how many events were taken out of messages."""
        return int(self._metrics().get("sluice_events_received_total", 0))

    def memory(self, process: str) -> float:
        """Return MiB of a process."""
        return self._metrics()[f"sluice_memory_bytes {process}"] / MIB

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of worker and runner until now."""
        return {name: used(process)[1] for name, process in self.stream.children().items()}

    def _metrics(self) -> dict[str, float]:
        try:
            with urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=10) as answer:
                families = list(text_string_to_metric_families(answer.read().decode()))
        except OSError:  # not up yet
            return {}
        return {" ".join([sample.name, *sample.labels.values()]): sample.value for family in families for sample in family.samples}


def produce(folder: Path, to: str, rate: float | None = None) -> "subprocess.Popen[bytes]":
    pace = ["--rate", str(rate)] if rate else []
    return subprocess.Popen([SLUICE, "produce", "--from", str(folder), "--to", to, "--json", *pace], stdout=subprocess.DEVNULL)


def drain(job: Job, topic: Broker, backlog: int) -> dict[str, Any]:
    """Wait until what is there is stored; return the figures."""
    wait_until(lambda: job.received() > 0, 120, "the first events")
    began, first, cpu = time.monotonic(), job.received(), job.cpu()
    wait_until(lambda: job.received() >= backlog and topic.unacknowledged() == 0, 1200, "the end of the backlog")
    events, after = max(1, backlog - first), job.cpu()
    return {
        "backlog drained, events/s": round(events / (time.monotonic() - began)),
        "CPU us an event": {name: round((after[name] - cpu[name]) / events * 1e6, 1) for name in cpu},
    }


def keep_up(job: Job, topic: Broker, load: Path, rate: float) -> dict[str, Any]:
    """Send a load at a rate; return the figures."""
    began, cpu, before = time.time(), job.cpu(), job.received()
    producer, memory = produce(load, topic.to, rate), []
    while producer.poll() is None:
        time.sleep(1)
        memory.append(job.memory("worker"))
    seconds, sent = time.time() - began, job.received() - before
    after = job.cpu()
    wait_until(lambda: topic.unacknowledged() == 0, 600, "the end")
    third = len(memory) // 3
    found = {
        "steady rate, events/s": rate,
        "seconds": round(seconds),
        "received meanwhile, events/s": round(sent / seconds),
        "cores": {name: round((after[name] - cpu[name]) / seconds, 2) for name in cpu},
        "worker MiB, medians of thirds": [round(statistics.median(memory[third * part : third * (part + 1)])) for part in range(3)],
        "runner MiB": round(job.memory("runner")),
    }
    assert job.stream.stop() == 0
    latency = "(toUnixTimestamp64Micro(inserted_at) - toUnixTimestamp64Micro(_timestamp)) / 1e6"
    ((p50, p99),) = shared(job.sink).rows(
        f"SELECT quantile(0.5)({latency}), quantile(0.99)({latency}) FROM events WHERE _timestamp > {int(began)}"
    )
    return {**found, "p50, s": round(p50, 2), "p99, s": round(p99, 2)}


def run(topic: Broker, folder: Path, backlog: int, rate: float, seconds: float) -> dict[str, Any]:
    """Drain a backlog, then keep up with a rate; return the figures."""
    for name, events in (("backlog", backlog), ("steady", int(rate * seconds))):
        generate(Plan(events=events, out=str(folder / name), shape="event", invalid=0, quota=0))
    produce(folder / "backlog", topic.to).wait()
    job = Job(topic, folder, str(folder / "steady" / "teams.toml"))
    try:
        return {**drain(job, topic, backlog), **keep_up(job, topic, folder / "steady", rate)}
    finally:
        job.stream.destroy()
        close_all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=["kafka", "pubsub"], default="kafka")
    parser.add_argument("--backlog", type=int, default=300_000)
    parser.add_argument("--rate", type=float, default=5_000)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, brokers(asked.broker, Path(folder)) as topic:
        print(json.dumps(run(topic, Path(folder), asked.backlog, asked.rate, asked.seconds), indent=2))


if __name__ == "__main__":
    main()
