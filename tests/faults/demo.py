"""`make demo-stream`: a broker, a producer, the job with its live view, a kill, the recovery, and a balanced audit."""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from rich.console import Console

from pipelines.generate import Plan, generate, yesterday
from tests.faults.streams import SLUICE, KafkaTopic, Stream
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until


def main() -> None:
    parser = argparse.ArgumentParser(prog="make demo-stream", description=__doc__)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--rate", type=float, default=2_500)
    asked = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="sluice-demo-") as name:
        folder = Path(name)
        console.rule("1. A broker: Apache Kafka, one node")
        with Kafka(folder / "kafka") as kafka:
            _demo(console, folder, KafkaTopic(kafka), asked.events, asked.rate)


def _demo(console: Console, folder: Path, broker: KafkaTopic, events: int, rate: float) -> None:
    truth = generate(Plan(events=events, out=str(folder / "load"), duplicates=0.05, quota=0, start=yesterday()))
    console.print(f"{broker.to}, with {truth.messages:,} messages to come, {rate:,.0f} a second")
    sink = f"chdb:{folder / 'db'}"
    console.rule("2. sluice produce, and sluice ingest into ClickHouse inside the process")
    producer = subprocess.Popen([SLUICE, "produce", "--from", str(folder / "load"), "--rate", str(rate), "--to", broker.to])
    stream = Stream(broker, sink, truth.teams, folder, shown=True)
    try:
        wait_until(lambda: broker.done() > events / 3, 120, "a third of the messages")
        console.rule("3. kill -9 of the worker, in the middle of it")
        before, began = broker.done(), time.monotonic()
        stream.kill("worker")
        wait_until(lambda: broker.done() > before, 60, "recovery")
        console.print(f"acknowledging again after {time.monotonic() - began:.1f} s")
        producer.wait(300)
        wait_until(lambda: broker.unacknowledged() == 0, 120, "all acknowledgements")
        console.rule("4. SIGTERM: it finishes what is in flight, and ends")
        code = stream.stop()
        console.print(f"exit code {code}; every message is acknowledged")
    finally:
        stream.destroy()
        producer.kill()
    console.rule("5. sluice audit: received = stored + duplicate + limited + rejected, and every row is there")
    subprocess.run([SLUICE, "audit", "--sink", sink], check=True)
    doubled = "SELECT count() AS rows, uniqExact(team_id, uuid) AS ids FROM events"
    subprocess.run([SLUICE, "query", "--sink", sink, doubled], check=True)


if __name__ == "__main__":
    main()
