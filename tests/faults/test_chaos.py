"""Processes of a stream killed at random moments. `make test-faults` does more of it, and prints the table."""

import random
from pathlib import Path

import pytest

from tests.faults.streams import Broker, KafkaTopic, PubSubTopic, chaos
from tests.servers.clickhouse_engine import ClickHouseEngine


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["kafka", "pubsub"])
def test_every_id_is_stored_once(kind: str, request: pytest.FixtureRequest, engine: ClickHouseEngine, tmp_path: Path) -> None:
    """Whoever is killed, and when."""
    broker: Broker = (KafkaTopic if kind == "kafka" else PubSubTopic)(request.getfixturevalue(kind))
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")  # shown if it fails
    found = chaos(broker, engine, tmp_path, events=15_000, kills=3, seed=seed, rate=1_000)
    print(found)
    assert (found["lost"], found["after compact"]) == (0, 0)
