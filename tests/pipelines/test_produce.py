"""`sluice produce`: what files hold is what a topic gets."""

import json
import random
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition
from google.cloud.pubsub_v1 import SubscriberClient

from pipelines.generate import Plan, generate
from pipelines.produce import Produced, messages_of, open_topic, produce
from runners.cli import main
from schemas.errors import ConfigError, Unavailable
from tests.servers.kafka import Kafka
from tests.servers.pubsub import PROJECT, PubSub
from transforms.pace import Pace


def consumed(kafka: Kafka, topic: str, partitions: int = 2) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "look", "fetch.message.max.bytes": 30_000_000})
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        ends, found = sum(kafka.ends(topic, partitions)), list[bytes]()
        while len(found) < ends:
            found += [message.value() for message in consumer.consume(1_000, timeout=5) if message.error() is None]
        return sorted(found)
    finally:
        consumer.close()


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_topic_gets_every_message_of_the_files(kafka: Kafka, tmp_path: Path, compression: str) -> None:
    generate(Plan(events=2_000, out=str(tmp_path), compression=compression, invalid=0.05, files=2))
    topic = kafka.new_topic()
    done = produce(messages_of([str(tmp_path)]), open_topic(f"kafka://{kafka.bootstrap}/{topic}"))
    assert (done.sent, done.refused) == (2_000, 0)
    assert consumed(kafka, topic) == sorted(messages_of([str(tmp_path)]))


def test_a_subscription_gets_them_too(pubsub: PubSub) -> None:
    name = pubsub.new_subscription()
    done = produce([b"a", b"b", b"c"], open_topic(pubsub.url(name)))
    assert (done.sent, done.bytes) == (3, 3)
    with SubscriberClient() as client:
        request = {"subscription": f"projects/{PROJECT}/subscriptions/{name}", "max_messages": 10}
        found: set[bytes] = set()
        while len(found) < 3:
            found |= {one.message.data for one in client.pull(request).received_messages}
    assert found == {b"a", b"b", b"c"}


def test_a_message_that_is_too_large_for_the_broker_is_refused_and_costs_no_other(kafka: Kafka) -> None:
    topic = kafka.new_topic()
    done = produce([b"a", random.Random(1).randbytes(31_000_000), b"b"], open_topic(f"kafka://{kafka.bootstrap}/{topic}"))
    assert (done.sent, done.refused) == (2, 1)
    assert consumed(kafka, topic) == [b"a", b"b"]


class Counted:
    """A topic that counts."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, payload: bytes) -> None:
        self.sent.append(payload)

    def flush(self, produced: Produced) -> None:
        produced.sent = len(self.sent)


def test_a_rate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr("pipelines.produce.monotonic", lambda: now)
    monkeypatch.setattr("pipelines.produce.Pace", partial(Pace, clock=lambda: now, sleep=sleep))
    done = produce([b"x"] * 1_000, Counted(), rate=250)
    assert done.seconds == pytest.approx(4.0)


def test_no_broker_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.produce.FLUSH_SECONDS", 0.5)
    with pytest.raises(Unavailable, match="not all messages were taken"):
        produce([b"a"], open_topic("kafka://127.0.0.1:1/events"))


def test_what_is_no_stream_is_refused() -> None:
    with pytest.raises(ConfigError, match="--to files"):
        open_topic("files://x")


def test_the_command_says_what_it_sent(kafka: Kafka) -> None:
    topic = kafka.new_topic()
    result = CliRunner().invoke(main, ["produce", "--events", "500", "--to", f"kafka://{kafka.bootstrap}/{topic}", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout.splitlines()[-1])["sent"] == 500


@pytest.mark.parametrize("arguments", [[], ["--events", "5", "--from", "x"], ["--events", "5", "--rate", "0"]])
def test_wrong_usage_is_refused(arguments: list[str]) -> None:
    assert CliRunner().invoke(main, ["produce", "--to", "kafka://127.0.0.1:1/x", *arguments]).exit_code == 2
