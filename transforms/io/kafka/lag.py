"""How old the oldest message is that was not fetched yet: asked of the broker, once for each offset."""

from time import monotonic

from confluent_kafka import Consumer, KafkaError, TopicPartition

from transforms.io.kafka.brokers import consumer_of
from transforms.io.kafka.url import KafkaAt
from transforms.io.streams.arrival import broker_time

LOOK_SECONDS = 2.0  # for the broker to send a message


def looker(at: KafkaAt) -> Consumer:
    """Return a consumer that looks at single messages."""
    settings = {
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "queued.max.messages.kbytes": 1024,
        "fetch.message.max.bytes": 1024,
    }
    return consumer_of(at, **settings)


def produced(consumer: Consumer, place: TopicPartition, now: int, timeout: float = LOOK_SECONDS) -> int | None:
    """Return when the first message from an offset on was produced, microseconds since 1970, `now` if that cannot be told.

    None if there is no message to be read: just marks of transactions, and what was aborted.
    """
    consumer.assign([place])
    deadline = monotonic() + timeout
    while (left := deadline - monotonic()) > 0:
        message = consumer.poll(left)
        if message is None:
            break
        error = message.error()
        if error is None:
            kind, milliseconds = message.timestamp()
            return min(now, (broker_time(milliseconds * 1000, now) if kind else 0) or now)
        if error.code() == KafkaError._PARTITION_EOF:
            return None
    return now


class Unread:
    """The ages of messages that wait with the broker. The broker is asked only of what has waited since the last time.

    Args:
        at: the topic.
    """

    def __init__(self, at: KafkaAt) -> None:
        self._at = at
        self._since: dict[int, tuple[int, int]] = {}  # offset, microseconds since 1970
        self._asked: set[int] = set()

    def since(self, partition: int, offset: int, now: int) -> int:
        """Return since when the message at an offset has waited, microseconds since 1970."""
        known, moment = self._since.get(partition, (-1, now))
        if known != offset:
            self._since[partition] = offset, now
            self._asked.discard(partition)
            return now
        if partition not in self._asked:
            self._asked.add(partition)
            moment = min(moment, self._ask(partition, offset, now))
            self._since[partition] = offset, moment
        return moment

    def _ask(self, partition: int, offset: int, now: int) -> int:
        consumer = looker(self._at)
        try:
            found = produced(consumer, TopicPartition(self._at.topic, partition, offset), now)
        finally:
            consumer.close()
        return now if found is None else found
