"""A topic of a real broker, read and acknowledged."""

import logging
from collections.abc import Sequence
from time import monotonic, sleep

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from schemas.errors import ConfigError, Unavailable
from schemas.message import Messages
from tests.servers.kafka import CLUSTER, Kafka
from transforms.io.kafka import fetcher as module
from transforms.io.kafka.fetcher import KafkaFetcher
from transforms.io.kafka.source import topic_splits
from transforms.io.streams.fetcher import Limits, Mark
from transforms.receipts.completed import completed

RUN = "01935b1e-7c5a-7def-8123-456789abcdef"
LIMITS = Limits(messages=10, linger=0.05, in_flight=0)


def produce(kafka: Kafka, topic: str, values: Sequence[bytes], partition: int = 0, **options: object) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0, "message.max.bytes": 30_000_000})
    for value in values:
        producer.produce(topic, value, partition=partition, **options)
    assert producer.flush(30) == 0


class Job:
    """A fetcher and its reader."""

    def __init__(self, kafka: Kafka, topic: str, sink: str, number: int = 0, splits: int = 1, start: str = "") -> None:
        self._sink = sink
        url = kafka.url(topic) + (f"&start={start}" if start else "")
        self.fetcher: KafkaFetcher = topic_splits(url, sink, RUN, LIMITS, splits)[number].connect()
        self.mark = Mark()

    def read(self, messages: int, timeout: float = 20.0) -> list[Messages]:
        """Return receipts that hold so many messages."""
        found: list[Messages] = []
        deadline = monotonic() + timeout
        while sum(len(one.payloads) for one in found) < messages:
            assert monotonic() < deadline, f"only {found}"
            polled = self.fetcher.poll(self.mark)
            if polled is None:
                sleep(0.002)
                continue
            receipt, self.mark = polled
            found.append(receipt)
        return found

    def complete(self, receipts: Sequence[Messages]) -> None:
        completed(self._sink).tell([one.receipt for one in receipts])


def payloads(receipts: Sequence[Messages]) -> list[bytes]:
    return [payload for one in receipts for payload in one.payloads]


def wait(condition: object, timeout: float = 20.0) -> None:
    deadline = monotonic() + timeout
    while not condition():  # type: ignore[operator]
        assert monotonic() < deadline
        sleep(0.01)


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return kafka.new_topic(2)


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def test_messages_come_with_their_places_and_times(kafka: Kafka, topic: str, sink: str) -> None:
    produce(kafka, topic, numbered(0, 3), timestamp=1_795_000_000_123)
    produce(kafka, topic, [b"edge"], headers={"now": b"2026-11-01T12:00:00Z"}, timestamp=1)
    job = Job(kafka, topic, sink)
    (first,) = job.read(4)
    assert (first.payloads, first.offsets, first.start, first.end) == ([b"0", b"1", b"2", b"edge"], [0, 1, 2, 3], 0, 4)
    assert first.source == f"kafka://{CLUSTER}/{topic}/{kafka.topic_id(topic)}/0"
    assert first.arrivals == [1_795_000_000_123_000] * 3 + [1_793_534_400_000_000]
    job.fetcher.close()


def test_offsets_are_committed_up_to_where_all_is_complete(kafka: Kafka, topic: str, sink: str) -> None:
    produce(kafka, topic, numbered(0, 30))
    job = Job(kafka, topic, sink)
    assert kafka.committed(topic, 2) == [0, 0], "lag is told from the start"
    receipts = job.read(30)
    assert len(receipts) == 3
    job.complete(receipts[1:])
    sleep(1.0)
    assert kafka.committed(topic, 2) == [0, 0]
    job.complete(receipts[:1])
    wait(lambda: kafka.committed(topic, 2) == [30, 0])
    job.fetcher.close()


def test_the_next_job_begins_where_nothing_was_acknowledged(kafka: Kafka, topic: str, sink: str) -> None:
    produce(kafka, topic, numbered(0, 30))
    job = Job(kafka, topic, sink)
    receipts = job.read(30)
    job.complete([receipts[0], receipts[2]])
    job.fetcher.close()
    assert kafka.committed(topic, 2) == [10, 0]
    again = Job(kafka, topic, sink)
    assert payloads(again.read(20)) == numbered(10, 30)
    again.fetcher.close()


def test_a_job_that_goes_back_gets_again_what_is_not_complete(kafka: Kafka, topic: str, sink: str) -> None:
    produce(kafka, topic, numbered(0, 40))
    job = Job(kafka, topic, sink)
    job.complete(job.read(10))
    checkpoint = job.mark
    job.read(30)
    produce(kafka, topic, numbered(40, 50))
    job.mark = checkpoint
    assert payloads(job.read(40)) == numbered(10, 50)
    job.fetcher.close()


@pytest.mark.usefixtures("_looks_often")
def test_partitions_are_shared_by_the_splits_and_new_ones_are_picked_up(kafka: Kafka, topic: str, sink: str) -> None:
    for partition in (0, 1):
        produce(kafka, topic, [b"%d" % partition] * 3, partition)
    jobs = [Job(kafka, topic, sink, number, splits=2) for number in (0, 1)]
    assert [set(payloads(job.read(3))) for job in jobs] == [{b"0"}, {b"1"}]
    admin = kafka.admin()
    admin.create_partitions([NewPartitions(topic, 4)])[topic].result(30)
    for partition in (2, 3):
        wait(lambda: len(admin.list_topics(topic).topics[topic].partitions) == 4)
        produce(kafka, topic, [b"%d" % partition] * 3, partition)
    assert [set(payloads(job.read(3))) for job in jobs] == [{b"2"}, {b"3"}]
    for job in jobs:
        job.fetcher.close()


def test_a_group_without_offsets_may_begin_at_the_end(kafka: Kafka, topic: str, sink: str) -> None:
    produce(kafka, topic, numbered(0, 5))
    job = Job(kafka, topic, sink, start="latest")
    assert kafka.committed(topic, 2) == [5, 0]
    produce(kafka, topic, numbered(5, 7))
    assert payloads(job.read(2)) == numbered(5, 7)
    job.fetcher.close()


def test_lag_is_told(kafka: Kafka, topic: str, sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    produce(kafka, topic, numbered(0, 25))
    job = Job(kafka, topic, sink)
    receipts = job.read(25)
    lag = job.fetcher._lag()
    assert (lag.messages, lag.receipts) == (25, 3)
    assert lag.seconds > 0
    job.complete(receipts)
    wait(lambda: job.fetcher.in_flight == 0)
    assert job.fetcher._lag()[0] == 0
    job.fetcher.close()


def test_what_the_broker_deleted_is_said_and_skipped(kafka: Kafka, topic: str, sink: str, caplog: pytest.LogCaptureFixture) -> None:
    produce(kafka, topic, numbered(0, 20))
    first = Job(kafka, topic, sink)
    first.complete(first.read(20)[:1])
    first.fetcher.close()
    assert kafka.committed(topic, 2) == [10, 0]
    admin = kafka.admin()
    (deleted,) = admin.delete_records([TopicPartition(topic, 0, 15)]).values()
    deleted.result(30)
    with caplog.at_level(logging.ERROR):
        again = Job(kafka, topic, sink)
        receipts = again.read(5)
    assert payloads(receipts) == numbered(15, 20)
    assert "the broker deleted 5 messages before they were read" in caplog.text
    again.complete(receipts)
    again.fetcher.close()
    assert kafka.committed(topic, 2) == [20, 0]


def test_a_topic_that_is_not_there_is_refused(kafka: Kafka, sink: str) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        topic_splits(kafka.url("nowhere"), sink, RUN, LIMITS, 1)


def test_a_url_without_a_group_is_refused(kafka: Kafka, topic: str, sink: str) -> None:
    with pytest.raises(ConfigError, match="names no group"):
        topic_splits(f"kafka://{kafka.bootstrap}/{topic}", sink, RUN, LIMITS, 1)


def test_brokers_that_do_not_answer_are_unavailable(sink: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transforms.io.kafka.source.TIMEOUT", 1.0)
    with pytest.raises(Unavailable, match=r"kafka://127\.0\.0\.1:1/events"):
        topic_splits("kafka://127.0.0.1:1/events?group=g", sink, RUN, LIMITS, 1)


def test_there_are_no_more_splits_than_partitions(kafka: Kafka, topic: str, sink: str) -> None:
    assert [split.number for split in topic_splits(kafka.url(topic), sink, RUN, LIMITS, 9)] == [0, 1]
