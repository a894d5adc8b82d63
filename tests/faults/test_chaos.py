"""Processes of a stream of Pub/Sub killed at random moments. `make test-faults` does more of it; of Kafka: tests/attack/test_chaos.py."""

import random
from pathlib import Path

import pytest

from tests.faults.streams import PubSubTopic, chaos
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.pubsub import PubSub


@pytest.mark.timeout(600)
def test_every_id_is_stored_once(pubsub: PubSub, engine: ClickHouseEngine, tmp_path: Path) -> None:
    """Whoever is killed, and when."""
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")  # shown if it fails
    found = chaos(PubSubTopic(pubsub), engine, tmp_path, events=15_000, kills=3, seed=seed, rate=1_000)
    print(found)
    assert (found["lost"], found["after compact"]) == (0, 0)
