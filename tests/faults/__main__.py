"""`make test-faults`: streams through real brokers, their processes killed at random moments, and the table of what was lost: nothing."""

import argparse
import os
import random
import tempfile
from pathlib import Path

from tests.faults.streams import KafkaTopic, PubSubTopic, chaos
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.pubsub import PubSub


def main() -> None:
    parser = argparse.ArgumentParser(prog="make test-faults", description=__doc__)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--rate", type=float, default=600, help="messages a second: kills shall meet work")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--brokers", nargs="*", default=["kafka", "pubsub"])
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    rows = []
    with tempfile.TemporaryDirectory(prefix="sluice-faults-") as folder:
        for kind in asked.brokers:
            place = Path(folder, kind)
            with ClickHouseEngine(place / "engine") as engine, (Kafka if kind == "kafka" else PubSub)(place / "broker") as server:
                if isinstance(server, PubSub):
                    os.environ["PUBSUB_EMULATOR_HOST"] = server.address
                broker = KafkaTopic(server) if isinstance(server, Kafka) else PubSubTopic(server)
                say = lambda text, kind=kind: print(f"{kind}: {text}", flush=True)  # noqa: E731
                rows.append({"broker": kind, **chaos(broker, engine, place, asked.events, asked.kills, asked.seed, asked.rate, say)})
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
