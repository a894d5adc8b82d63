"""What is found about a topic and its group on a real broker, and about a subscription."""

import json

import pytest
from click.testing import CliRunner
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from pipelines.doctor import Finding, Level
from pipelines.doctor.source import Partition, check_source, judge_topic
from runners.cli import main
from schemas.errors import ConfigError, Unavailable
from tests.servers.kafka import Kafka
from tests.servers.pubsub import PubSub

HOUR = 3_600


def send(kafka: Kafka, topic: str, age: float, count: int = 1) -> None:
    """Send messages that were produced so many seconds ago."""
    import time

    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for _ in range(count):
        producer.produce(topic, b"m", partition=0, timestamp=int((time.time() - age) * 1000))
    assert producer.flush(30) == 0


def commit(kafka: Kafka, topic: str, *offsets: int) -> None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "sluice"})
    consumer.commit(offsets=[TopicPartition(topic, number, offset) for number, offset in enumerate(offsets)], asynchronous=False)
    consumer.close()


def keep(kafka: Kafka, topic: str, seconds: int) -> None:
    """Set a topic's retention."""
    milliseconds = str(seconds * 1000 if seconds >= 0 else -1)
    entry = ConfigEntry("retention.ms", milliseconds, incremental_operation=AlterConfigOpType.SET)
    admin = kafka.admin()
    (answer,) = admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]).values()
    answer.result(30)


def found(kafka: Kafka, topic: str) -> dict[str, Finding]:
    return {finding.name: finding for finding in check_source(kafka.url(topic))}


def test_a_group_that_never_read(kafka: Kafka) -> None:
    topic = kafka.new_topic(2)
    findings = found(kafka, topic)
    assert findings["source"].level == Level.WARNING
    assert "2 of which the group has never read" in findings["source"].what
    commit(kafka, topic, 0, 0)
    findings = found(kafka, topic)
    assert {finding.level for finding in findings.values()} == {Level.OK}
    assert findings["lag"].what == "0 messages, the oldest 0 s old"


def test_lag_and_the_retention_that_it_comes_near(kafka: Kafka) -> None:
    topic = kafka.new_topic(2)
    send(kafka, topic, 3 * HOUR, count=4)
    send(kafka, topic, 0, count=3)
    commit(kafka, topic, 4, 0)
    keep(kafka, topic, 4 * HOUR)
    assert {finding.level for finding in found(kafka, topic).values()} == {Level.OK}
    commit(kafka, topic, 1, 0)
    findings = found(kafka, topic)
    assert (findings["lag"].level, findings["lag"].what) == (Level.WARNING, "6 messages, the oldest 3 hours old")
    assert (findings["retention"].level, findings["retention"].what) == (Level.WARNING, "4 hours; the oldest unread is 3 hours old")
    keep(kafka, topic, -1)
    assert found(kafka, topic)["retention"].level == Level.OK


def test_what_the_broker_has_deleted_is_a_failure(kafka: Kafka) -> None:
    topic = kafka.new_topic(1)
    send(kafka, topic, 0, count=9)
    commit(kafka, topic, 2)
    admin = kafka.admin()
    (answer,) = admin.delete_records([TopicPartition(topic, 0, 5)]).values()
    answer.result(30)
    finding = found(kafka, topic)["retention"]
    assert (finding.level, finding.what) == (Level.FAILURE, "the broker has deleted 3 messages that were not read")


def test_all_of_a_topic_is_judged() -> None:
    parts = [Partition(5, 0, 9, 10.0), Partition(0, 0, 0, 0.0), Partition(7, 8, 20, 700.0)]
    _, lag, retention = judge_topic("kafka://x/t", parts, None)
    assert (lag.level, lag.what) == (Level.WARNING, "16 messages, the oldest 12 minutes old")
    assert (retention.level, "deleted 1 messages" in retention.what) == (Level.FAILURE, True)


def test_a_topic_that_is_not_there_and_brokers_that_do_not_answer(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="none"):
        check_source(kafka.url("none"))
    with pytest.raises(ConfigError, match="names no group"):
        check_source(f"kafka://{kafka.bootstrap}/none")
    monkeypatch.setattr("pipelines.doctor.source.TIMEOUT", 0.5)
    with pytest.raises(Unavailable):
        check_source("kafka://127.0.0.1:1/topic?group=g")
    assert check_source("events/*.jsonl") == []


def test_a_subscription(pubsub: PubSub) -> None:
    name = pubsub.new_subscription()
    (finding,) = check_source(pubsub.url(name))
    assert finding.name == "source"
    assert "the deadline for acknowledgements is" in finding.what
    with pytest.raises(ConfigError):
        check_source(pubsub.url("none"))


def test_the_command_on_a_stream(kafka: Kafka, chdb_url: str) -> None:
    topic = kafka.new_topic(1)
    done = CliRunner().invoke(main, ["doctor", "--sink", chdb_url, "--source", kafka.url(topic), "--source", "kafka://x", "--json"])
    assert done.exit_code == 1, done.output
    told = json.loads(done.stdout.splitlines()[-1])
    levels = {finding["name"]: finding["level"] for finding in told["findings"]}
    assert levels["schema"] == "failure", "there are no tables"
    assert told["failures"] == sum(finding["level"] == "failure" for finding in told["findings"]) == 2
    assert told["warnings"] >= 1
    text = CliRunner().invoke(main, ["doctor", "--sink", chdb_url])
    assert text.exit_code == 1
    assert "failure  schema: the schema is at version 0" in text.stdout
    assert "-> run `sluice migrate`" in text.stdout
