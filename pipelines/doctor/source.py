"""Checks of what is read: is it there, how far behind is the group, and will the broker keep what is not read yet?"""

from collections.abc import Sequence
from time import time_ns
from typing import Any, NamedTuple

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


class Partition(NamedTuple):
    """How far a group is in one partition.

    Attributes:
        committed: its offset; negative if there is none.
        low, high: what the broker has: `[low, high)`.
        age: seconds since the oldest message that is not acknowledged; 0 if there is none.
        is_other: whether the group's offset is of another topic that had this name.
        has_unread: whether a message can be read behind the group's offset, and not just marks of transactions.
    """

    committed: int
    low: int
    high: int
    age: float
    is_other: bool = False
    has_unread: bool = True

    @property
    def begin(self) -> int:
        """Where a job would begin."""
        return self.low if self.is_beside else max(self.committed, self.low)

    @property
    def is_beside(self) -> bool:
        """Whether the group's offset is none of this partition: it was cut off, or is another topic's."""
        return self.is_other or self.committed > self.high

    @property
    def expired(self) -> int:
        """How many messages are gone that were not acknowledged."""
        return max(0, self.low - self.committed) if self.committed >= 0 and not self.is_other else 0

    @property
    def waiting(self) -> int:
        """How many messages are there that are not acknowledged."""
        return self.high - self.begin if self.has_unread else 0


def _check_topic(url: str) -> list[Finding]:
    from transforms.io.kafka.lag import looker
    from transforms.io.kafka.url import parse

    at = parse(url)
    if not at.group:
        raise ConfigError(f"{at.where} names no group", "write it as for `sluice ingest`: kafka://host:port/topic?group=GROUP")
    consumer = looker(at)
    try:
        partitions = _partitions(consumer, at)
    finally:
        consumer.close()
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
    lag = graded(
        "lag",
        age,
        LAG_SECONDS,
        float("inf"),
        f"{waiting:,} messages, the oldest {span(age)} old",
        "is the job running? See docs/operations.md",
    )
    return [_of_offsets(where, partitions), lag, _of_retention(expired, age, retention)]


def _of_offsets(where: str, partitions: Sequence[Partition]) -> Finding:
    found = f"{where}: {len(partitions)} partitions"
    if beside := sum(part.is_beside for part in partitions):
        what = f"{found}; of {beside} the group's offset is beyond the end, or of another topic that had this name"
        return Finding("source", Level.WARNING, what, "was the topic made anew, or restored? Its job reads it from the beginning by itself")
    if new := sum(part.committed < 0 for part in partitions):
        what = f"{found}, {new} of which the group has never read"
        return Finding("source", Level.WARNING, what, "is the group's name right? Is its job running?")
    return Finding("source", Level.OK, found)


def _of_retention(expired: int, age: float, retention: float | None) -> Finding:
    todo = "raise retention.ms of the topic at once, then get the job to run"
    if expired:
        return Finding(
            "retention", Level.FAILURE, f"the broker has deleted {expired:,} messages that were not read", f"they are lost; {todo}"
        )
    if retention is None:
        return Finding("retention", Level.OK, "the broker keeps messages without a limit of time")
    return graded("retention", age, KEPT_SHARE * retention, retention, f"{span(retention)}; the oldest unread is {span(age)} old", todo)


def _partitions(consumer: Any, at: Any) -> list[Partition]:
    from confluent_kafka import TopicPartition

    from transforms.io.kafka.brokers import admin_of, bounds, committed, describe
    from transforms.io.kafka.lag import produced

    topic = describe(admin_of(at), at, TIMEOUT)
    group, partitions = committed(consumer, at, topic.partitions), []
    for number in topic.partitions:
        place, of = group.get(number, (None, ""))
        low, high = bounds(consumer, at, number, TIMEOUT)
        part = Partition(place.offset if place is not None else -1, low, high, 0.0, of not in ("", topic.id))
        if part.waiting:
            now = time_ns() // 1000
            since = produced(consumer, TopicPartition(at.topic, number, part.begin), now, TIMEOUT)
            part = part._replace(age=(now - since) / 1e6 if since is not None else 0.0, has_unread=since is not None)
        partitions.append(part)
    return partitions


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
