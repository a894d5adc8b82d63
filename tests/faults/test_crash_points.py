"""A stream that dies in each state that a batch can be in: one test a row of the table in docs/guarantees.md."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.crashes import Crashes, points_of
from tests.faults.streams import KafkaTopic, PubSubTopic
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.pubsub import PubSub


@pytest.fixture(scope="module")
def of_kafka(kafka: Kafka, engine: ClickHouseEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    yield from crashes(KafkaTopic(kafka), "kafka", engine, tmp_path_factory.mktemp("kafka-crashes"))


@pytest.fixture(scope="module")
def of_pubsub(pubsub: PubSub, engine: ClickHouseEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crashes]:
    yield from crashes(PubSubTopic(pubsub), "pubsub", engine, tmp_path_factory.mktemp("pubsub-crashes"))


def crashes(broker: KafkaTopic | PubSubTopic, kind: str, engine: ClickHouseEngine, folder: Path) -> Iterator[Crashes]:
    seed = random.SystemRandom().randrange(1 << 31)
    print(f"seed {seed}")
    found = Crashes(broker, engine, folder, len(points_of(kind)), seed)
    yield found
    found.stream.destroy()


@pytest.mark.parametrize("point", points_of("kafka"))
def test_killed_in_each_state_of_a_batch_from_kafka(of_kafka: Crashes, point: str) -> None:
    row = of_kafka.row(point)
    print(row)
    assert (row["lost"], row["shown twice"], row["doubled"], row["after compact"]) == (0, 0, 0, 0), row


def test_what_was_killed_everywhere_from_kafka_balances(of_kafka: Crashes) -> None:
    of_kafka.finish().assert_right()


# Of Pub/Sub those in which it differs: what is read, and what is acknowledged. `make test-faults` has all.
PUBSUB = [point for point in points_of("pubsub") if any(word in point for word in ("read", "acknowledge", "not confirmed"))]


@pytest.mark.parametrize("point", PUBSUB)
def test_killed_in_each_state_of_a_batch_from_pubsub(of_pubsub: Crashes, point: str) -> None:
    row = of_pubsub.row(point)
    print(row)
    assert (row["lost"], row["shown twice"], row["doubled"], row["after compact"]) == (0, 0, 0, 0), row


def test_what_was_killed_everywhere_from_pubsub_balances(of_pubsub: Crashes) -> None:
    of_pubsub.finish().assert_right()
