"""Checks of what is read: is it there, how far behind is the group, and will the broker keep what is not read yet?"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import time
from typing import Any

from pipelines.doctor.finding import Finding, Level, graded, span
from schemas.errors import ConfigError

LAG_SECONDS = 600.0
KEPT_SHARE = 0.5  # of the retention: what is older may be gone before it is read
DEADLINE_SECONDS = (10, 60)
TIMEOUT = 10.0  # seconds for a question


def check_source(url: str) -> list[Finding]:
    """Return what is found about a stream; nothing for files.

    Raises:
        ConfigError: the URL is wrong, or there is no such stream.
        Unavailable: its brokers do not answer.
    """
    if url.startswith("kafka://"):
        return _check_topic(url)
    if url.startswith("pubsub://"):
        return [_check_subscription(url)]
    return []


class Partition:
    """How far a group is in one partition.

    Attributes:
        committed: its offset; negative if there is none.
        low, high: what the broker has: `[low, high)`.
        age: seconds since the oldest message that is not acknowledged; 0 if there is none.
    """

    def __init__(self, committed: int, low: int, high: int, age: float) -> None:
        self.committed = committed
        self.low = low
        self.high = high
        self.age = age

    @property
    def expired(self) -> int:
        """How many messages are gone that were not acknowledged."""
        return max(0, self.low - self.committed) if self.committed >= 0 else 0

    @property
    def waiting(self) -> int:
        """How many messages are there that are not acknowledged."""
        return self.high - max(self.committed, self.low)


def _check_topic(url: str) -> list[Finding]:
    from transforms.io.kafka.url import parse

    at = parse(url)
    if not at.group:
        raise ConfigError(f"{at.where} names no group", "write it as for `sluice ingest`: kafka://host:port/topic?group=GROUP")
    with _consumer(at) as consumer:
        partitions = _partitions(consumer, at)
    return judge_topic(at.where, partitions, _retention(at))


def judge_topic(where: str, partitions: Sequence[Partition], retention: float | None) -> list[Finding]:
    """Return what follows from a group's offsets.

    Args:
        where: the topic, for people.
        partitions: all of it.
        retention: seconds for which the broker keeps a message; None without end.
    """
    waiting, age = sum(part.waiting for part in partitions), max((part.age for part in partitions), default=0.0)
    expired = sum(part.expired for part in partitions)
    new = sum(part.committed < 0 for part in partitions)
    found = f"{where}: {len(partitions)} partitions"
    source = Finding("source", Level.OK, found)
    if new:
        source = Finding(
            "source", Level.WARNING, f"{found}, {new} of which the group has never read", "is the group's name right? Is its job running?"
        )
    lag = graded(
        "lag",
        age,
        LAG_SECONDS,
        float("inf"),
        f"{waiting:,} messages, the oldest {span(age)} old",
        "is the job running? See docs/operations.md",
    )
    return [source, lag, _of_retention(expired, age, retention)]


def _of_retention(expired: int, age: float, retention: float | None) -> Finding:
    todo = "raise retention.ms of the topic at once, then get the job to run"
    if expired:
        return Finding(
            "retention", Level.FAILURE, f"the broker has deleted {expired:,} messages that were not read", f"they are lost; {todo}"
        )
    if retention is None:
        return Finding("retention", Level.OK, "the broker keeps messages without a limit of time")
    return graded("retention", age, KEPT_SHARE * retention, retention, f"{span(retention)}; the oldest unread is {span(age)} old", todo)


@contextmanager
def _consumer(at: Any) -> Iterator[Any]:
    from confluent_kafka import Consumer

    settings = {"group.id": at.group, "enable.auto.commit": False, "auto.offset.reset": "earliest", "log_level": 3}
    consumer = Consumer({**at.settings(), **settings}, logger=logging.getLogger("librdkafka"))
    try:
        yield consumer
    finally:
        consumer.close()


def _partitions(consumer: Any, at: Any) -> list[Partition]:
    from confluent_kafka import TopicPartition

    from transforms.io.kafka.fetcher import ask

    topic = ask(lambda: consumer.list_topics(at.topic, timeout=TIMEOUT), at).topics[at.topic]
    if topic.error is not None:
        raise ConfigError(f"{at.where}: {topic.error.str()}", "check the topic's name, and who may read it")
    asked = [TopicPartition(at.topic, number) for number in sorted(topic.partitions)]
    partitions = []
    for one in ask(lambda: consumer.committed(asked, timeout=TIMEOUT), at):
        place = TopicPartition(at.topic, one.partition)
        low, high = ask(partial(consumer.get_watermark_offsets, place, timeout=TIMEOUT), at)
        first = max(one.offset, low)
        age = _age(consumer, TopicPartition(at.topic, one.partition, first)) if first < high else 0.0
        partitions.append(Partition(one.offset, low, high, age))
    return partitions


def _age(consumer: Any, place: Any) -> float:
    """Return how many seconds ago the message at an offset was produced; 0 if it does not come in time."""
    consumer.assign([place])
    message = consumer.poll(TIMEOUT)
    if message is None or message.error() is not None:
        return 0.0
    kind, milliseconds = message.timestamp()
    return max(0.0, time() - milliseconds / 1000) if kind else 0.0


def _retention(at: Any) -> float | None:
    """Return for how many seconds a topic's messages are kept; None for ever, or if we may not know."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]

    admin = AdminClient({**at.settings(), "log_level": 3})
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, at.topic)], request_timeout=TIMEOUT).values()
    try:
        milliseconds = int(answer.result(TIMEOUT)["retention.ms"].value)
    except KafkaException:
        return None
    return milliseconds / 1000 if milliseconds >= 0 else None


def _check_subscription(url: str) -> Finding:
    from google.cloud.pubsub_v1 import SubscriberClient

    from transforms.io.pubsub.fetcher import deadline_of
    from transforms.io.pubsub.url import parse

    at = parse(url)
    with SubscriberClient() as client:
        deadline = deadline_of(client, at)
    what = f"{at.where}: the deadline for acknowledgements is {deadline} s; for its lag see Pub/Sub's oldest_unacked_message_age"
    least, most = DEADLINE_SECONDS
    if least <= deadline <= most:
        return Finding("source", Level.OK, what)
    return Finding("source", Level.WARNING, what, f"{least} to {most} s: what a killed worker held comes again only after it")
