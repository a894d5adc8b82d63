"""Questions to Kafka's brokers: what a topic is, what it holds, and where a group stands in it."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from schemas.errors import ConfigError, Unavailable
from transforms.io.kafka.offsets import UNKNOWN, Committed
from transforms.io.kafka.url import KafkaAt

TIMEOUT = 10.0  # seconds for a question to the brokers
NO_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # what brokers say that are older than topics' ids (before Kafka 2.8)
MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.UNKNOWN_TOPIC_ID, KafkaError._UNKNOWN_TOPIC}
NOT_LET_IN = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}
REFUSED = {*MISSING, *NOT_LET_IN, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}
# A coordinator that has just started, or moved.
_SOON = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE}
Answer = TypeVar("Answer")


def _will_answer_soon(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _SOON


_patient = Retrying(retry=retry_if_exception(_will_answer_soon), stop=stop_after_delay(TIMEOUT), wait=wait_fixed(0.2), reraise=True)


def ask(question: Callable[[], Answer], at: KafkaAt) -> Answer:
    """Return the brokers' answer.

    Raises:
        Unavailable: there is none.
        ConfigError: they do not let us in, or there is no such topic.
    """
    try:
        return _patient(question)
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if cause.code() in REFUSED:
            raise ConfigError(f"{at.where}: {cause.str()}", "check the topic's name, the user and the password") from error
        raise Unavailable(f"{at.where}: {cause.str()}") from error


class Topic(NamedTuple):
    """A topic as it is now.

    Attributes:
        id: what tells it from another one that had, or will have, its name; empty if the brokers are too old to say.
        partitions: their numbers, in order.
    """

    id: str
    partitions: list[int]


def admin_of(at: KafkaAt, **settings: Any) -> AdminClient:
    """Return a client for questions about topics."""
    return AdminClient({**at.settings(), "log_level": 0, **settings})


def describe(admin: AdminClient, at: KafkaAt, timeout: float = TIMEOUT) -> Topic:
    """Return what a topic is now.

    Raises:
        Unavailable: the brokers do not answer.
        ConfigError: there is no such topic, or we may not see it.
    """

    def question() -> Topic:
        (answer,) = admin.describe_topics(TopicCollection([at.topic]), request_timeout=timeout).values()
        found = answer.result(timeout + 1)
        return Topic("" if str(found.topic_id) == NO_ID else str(found.topic_id), sorted(part.id for part in found.partitions))

    return ask(question, at)


def cluster_of(consumer: Consumer, at: KafkaAt) -> str:
    """Return what the cluster of a topic is known by."""
    return ask(lambda: consumer.list_topics(at.topic, timeout=TIMEOUT), at).cluster_id or at.servers


def bounds(consumer: Consumer, at: KafkaAt, partition: int, timeout: float = TIMEOUT) -> tuple[int, int]:
    """Return the offsets `[low, high)` that a partition has."""
    place = TopicPartition(at.topic, partition)
    low, high = ask(lambda: consumer.get_watermark_offsets(place, timeout=timeout), at)
    return int(low), int(high)


def committed(consumer: Consumer, at: KafkaAt, partitions: Sequence[int]) -> dict[int, tuple[Committed, str]]:
    """Return where the group stands in some partitions, and the id of the topic that it stood in, "" if that is not known.

    Partitions without an offset are left out.
    """
    asked = [TopicPartition(at.topic, partition) for partition in partitions]
    found = ask(partial(consumer.committed, asked, timeout=TIMEOUT), at)
    return {one.partition: _read(one) for one in found if one.offset >= 0}


# What is committed beside an offset: `sluice ID RECEIPT`. Other programs' text, or none at all, is an offset that somebody has set.
_NAME = "sluice"


def _read(one: TopicPartition) -> tuple[Committed, str]:
    name, topic, receipt = [*(one.metadata or "").split(" "), "", ""][:3]
    epoch = UNKNOWN if one.leader_epoch is None else one.leader_epoch
    if name != _NAME or not receipt.isdigit():
        return Committed(one.offset, epoch), ""
    return Committed(one.offset, epoch, int(receipt)), topic


def to_commit(at: KafkaAt, topic: str, partition: int, done: Committed) -> TopicPartition:
    """Return a position as it is committed."""
    metadata = f"{_NAME} {topic} {done.receipt}"
    return TopicPartition(at.topic, partition, done.offset, metadata, *([done.epoch] if done.epoch >= 0 else []))


def consumer_of(at: KafkaAt, **settings: Any) -> Consumer:
    """Return a consumer that asks, and joins no group."""
    options = {"group.id": at.group or "sluice", "enable.auto.commit": False, "log_level": 3, **settings}
    return Consumer({**at.settings(), **options}, logger=logging.getLogger("librdkafka"))
