"""`make test-faults`: streams through real brokers into a current ClickHouse engine, what goes wrong with them, and what was lost: nothing.

Processes killed at random moments, and in each state that a batch can be in; a ClickHouse that is slow, refuses, or answers too late.
"""

import argparse
import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.clickhouse import clickhouse_troubles
from tests.faults.crashes import Crashes, points_of
from tests.faults.streams import KafkaTopic, PubSubTopic, chaos
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.pubsub import PubSub

Row = dict[str, Any]
COLUMNS = ("what happens", "sent", "stored", "doubled", "after compact", "lost", "seconds to recover")


def main() -> None:
    parser = argparse.ArgumentParser(prog="make test-faults", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=float, default=600, help="messages a second: kills shall meet work")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--brokers", nargs="*", default=["kafka", "pubsub"])
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="sluice-faults-") as folder:
        for kind in asked.brokers:
            for row in _of_broker(kind, Path(folder, kind), asked):
                print(row, flush=True)
                rows.append(row)
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + "---|" * len(COLUMNS))
    for row in rows:
        cells = (row[column] for column in COLUMNS)
        print("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |")


def _of_broker(kind: str, place: Path, asked: argparse.Namespace) -> Iterator[Row]:
    with ClickHouseEngine(place / "engine") as engine, (Kafka if kind == "kafka" else PubSub)(place / "broker") as server:
        if isinstance(server, PubSub):
            os.environ["PUBSUB_EMULATOR_HOST"] = server.address
        yield chaos(_topic(server), engine, place, asked.events, asked.kills, asked.seed, asked.rate)
        points = points_of(kind)
        (place / "crashes").mkdir()
        crashes = Crashes(_topic(server), engine, place / "crashes", len(points), asked.seed)
        try:
            yield from map(crashes.row, points)
            crashes.finish().assert_right()
        finally:
            crashes.stream.destroy()
        if isinstance(server, Kafka):
            (place / "troubles").mkdir()
            yield from clickhouse_troubles(server, engine, place / "troubles", events=1_000, seconds=10)


def _topic(server: Kafka | PubSub) -> KafkaTopic | PubSubTopic:
    return KafkaTopic(server) if isinstance(server, Kafka) else PubSubTopic(server)


if __name__ == "__main__":
    main()
