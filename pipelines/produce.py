"""`sluice produce`: the messages of files in, a topic of Kafka or Pub/Sub out, at a rate."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from time import monotonic
from typing import Any, Protocol
from uuid import UUID

import msgspec

from schemas.errors import ConfigError, Unavailable
from transforms.io.files import match
from transforms.io.files.plan import RANGE_BYTES, plan_ranges
from transforms.io.files.read import read_range
from transforms.pace import Pace, at_once

SLICE_SECONDS, SLICE_MESSAGES = 0.02, 1_000  # what is sent at once
FLUSH_SECONDS = 60.0


class Produced(msgspec.Struct):
    """What was sent.

    Attributes:
        sent: messages that the broker has.
        refused: messages that it does not take: they are larger than it allows.
    """

    sent: int = 0
    refused: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Topic(Protocol):
    """Where messages go to."""

    def send(self, payload: bytes) -> None:
        """Send a message; it is on its way when this returns."""

    def flush(self, produced: Produced) -> None:
        """Wait until the broker has everything; say what it refused.

        Raises:
            Unavailable: it does not answer.
        """


class KafkaTopic:
    """A topic of Kafka. Messages go to its partitions in turn, in batches.

    Args:
        url: `kafka://host:port/topic`.
    """

    def __init__(self, url: str) -> None:
        from confluent_kafka import Producer

        from transforms.io.kafka.url import parse

        self._at = parse(url)
        self._refused = 0
        self._failed = ""
        settings = {
            "linger.ms": 20,
            "compression.type": "lz4",
            "message.max.bytes": 100_000_000,
            "enable.idempotence": True,
            "log_level": 3,
        }
        self._producer = Producer({**self._at.settings(), **settings}, logger=logging.getLogger("librdkafka"))

    def send(self, payload: bytes) -> None:
        """Send a message; wait while the queue is full."""
        while True:
            try:
                self._producer.produce(self._at.topic, payload, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def flush(self, produced: Produced) -> None:
        """Wait until the broker has everything."""
        if self._producer.flush(FLUSH_SECONDS) or self._failed:
            raise Unavailable(f"{self._at.where}: {self._failed or f'not all messages were taken within {FLUSH_SECONDS:.0f} s'}")
        produced.refused += self._refused
        produced.sent -= self._refused
        self._refused = 0

    def _delivered(self, error: Any, message: Any) -> None:  # noqa: ARG002
        from confluent_kafka import KafkaError

        if error is None:
            return
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._refused += 1
        else:
            self._failed = error.str()


class PubSubTopic:
    """A topic of Pub/Sub.

    Args:
        url: `pubsub://project/topic`.
    """

    def __init__(self, url: str) -> None:
        from google.cloud.pubsub_v1 import PublisherClient
        from google.cloud.pubsub_v1.types import BatchSettings

        from transforms.io.pubsub.url import parse

        self._at = parse(url)
        self._client = PublisherClient(batch_settings=BatchSettings(max_messages=500, max_bytes=5_000_000, max_latency=0.02))
        self._sent: list[Any] = []

    def send(self, payload: bytes) -> None:
        """Send a message."""
        self._sent.append(self._client.publish(self._at.topic, payload))

    def flush(self, produced: Produced) -> None:
        """Wait until Pub/Sub has everything."""
        from google.api_core.exceptions import GoogleAPICallError, InvalidArgument
        from google.cloud.pubsub_v1.publisher.exceptions import MessageTooLargeError

        sent, self._sent = self._sent, []
        for future in sent:
            try:
                future.result(FLUSH_SECONDS)
            except (MessageTooLargeError, InvalidArgument):
                produced.refused += 1
                produced.sent -= 1
            except (GoogleAPICallError, TimeoutError) as error:
                raise Unavailable(f"{self._at.where}: {error}") from error


def open_topic(url: str) -> Topic:
    """Return the topic that a URL names.

    Raises:
        ConfigError: it names none.
    """
    if url.startswith("kafka://"):
        return KafkaTopic(url)
    if url.startswith("pubsub://"):
        return PubSubTopic(url)
    raise ConfigError(f"--to {url.partition('://')[0]}:// is no stream", "write kafka://host:port/topic or pubsub://project/topic")


def messages_of(patterns: Sequence[str]) -> Iterator[bytes]:
    """Yield the messages of files, in any format that `ingest` reads."""
    for part in plan_ranges(match(patterns), UUID(int=0), 0, RANGE_BYTES):
        for messages in read_range(part):
            yield from messages.payloads


def produce(payloads: Iterable[bytes], topic: Topic, rate: float | None = None, progress: Callable[[int], None] | None = None) -> Produced:
    """Send messages, and return what was sent once the broker has it.

    Args:
        payloads: the messages.
        topic: where to.
        rate: messages a second; as fast as it goes if None.
        progress: called with the number that was sent so far.

    Raises:
        Unavailable: the broker does not answer.
    """
    began, pace, done = monotonic(), Pace(rate), Produced()
    rest = iter(payloads)
    while some := list(islice(rest, at_once(rate, SLICE_SECONDS, SLICE_MESSAGES))):
        for payload in some:
            topic.send(payload)
        done.sent += len(some)
        done.bytes += sum(map(len, some))
        pace.wait(done.sent)
        if progress is not None:
            progress(done.sent)
    topic.flush(done)
    done.seconds = round(monotonic() - began, 3)
    return done
