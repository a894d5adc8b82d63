"""A stream from Kafka through the whole path into ClickHouse inside the worker: `python -m benchmarks.stream [--seconds 60] [--rate 5000]`.

First a backlog is drained; then messages come at a steady rate. Latency is from the broker's time of a message to the insert of its
row. Broker, producer, Prism and ClickHouse share the machine with the job.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from pipelines.generate import Plan, generate
from tests.faults.streams import SLUICE, KafkaTopic, Stream
from tests.servers.kafka import Kafka
from tests.servers.process import free_port, wait_until
from transforms.io.clickhouse import close_all, shared


def metrics(port: int) -> dict[str, float]:
    """Return the job's metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in lines}


def produce(folder: Path, to: str, rate: float | None = None) -> "subprocess.Popen[bytes]":
    pace = ["--rate", str(rate)] if rate else []
    return subprocess.Popen([SLUICE, "produce", "--from", str(folder), "--to", to, "--json", *pace], stdout=subprocess.DEVNULL)


def run(kafka: Kafka, folder: Path, backlog: int, rate: float, seconds: float) -> dict[str, Any]:
    """Drain a backlog, then keep up with a rate; return the figures."""
    for name, events in (("backlog", backlog), ("steady", int(rate * seconds))):
        generate(Plan(events=events, out=str(folder / name), shape="event", invalid=0, quota=0))
    topic, port, sink = KafkaTopic(kafka), free_port(), f"chdb:{folder / 'db'}"
    produce(folder / "backlog", topic.to).wait()
    stream = Stream(topic, sink, str(folder / "steady" / "teams.toml"), folder, "--health-port", str(port))
    try:
        wait_until(lambda: topic.done() > 0, 60, "the first acknowledgement")
        began, done = time.monotonic(), topic.done()
        wait_until(lambda: topic.unacknowledged() == 0, 600, "the end of the backlog")
        drained = (backlog - done) / (time.monotonic() - began)
        steady = int(time.time())
        producer, memory = produce(folder / "steady", topic.to, rate), []
        while producer.poll() is None:
            time.sleep(1)
            memory.append(metrics(port)['sluice_memory_bytes{process="worker"}'])
        behind = topic.unacknowledged()
        wait_until(lambda: topic.unacknowledged() == 0, 600, "the end")
        runner = metrics(port)['sluice_memory_bytes{process="runner"}']
        stream.stop()
    finally:
        stream.destroy()
    latency = "toUnixTimestamp64Micro(inserted_at) - toUnixTimestamp64Micro(_timestamp)"
    ((p50, p99),) = shared(sink).rows(f"SELECT quantile(0.5)({latency}), quantile(0.99)({latency}) FROM events WHERE _timestamp > {steady}")
    close_all()
    return {
        "backlog drained, events/s": round(drained),
        "steady rate, events/s": rate,
        "p50, s": round(p50 / 1e6, 2),
        "p99, s": round(p99 / 1e6, 2),
        "messages behind at the end": behind,
        "worker MiB at the middle and the end": [round(memory[len(memory) // 2] / 2**20), round(memory[-1] / 2**20)],
        "runner MiB": round(runner / 2**20),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backlog", type=int, default=300_000)
    parser.add_argument("--rate", type=float, default=5_000)
    parser.add_argument("--seconds", type=float, default=60)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, Kafka(Path(folder, "kafka")) as kafka:
        print(json.dumps(run(kafka, Path(folder), asked.backlog, asked.rate, asked.seconds), indent=2))


if __name__ == "__main__":
    main()
