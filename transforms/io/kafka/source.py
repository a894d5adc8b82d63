"""A topic's URL in, the splits in which it is read out."""

from confluent_kafka import Consumer

from schemas.errors import ConfigError
from transforms.io.clickhouse import shared
from transforms.io.kafka.brokers import TIMEOUT, Topic, admin_of, ask, bounds, cluster_of, committed, consumer_of, describe, to_commit
from transforms.io.kafka.fetcher import KafkaSplit
from transforms.io.kafka.offsets import Committed
from transforms.io.kafka.positions import Positions
from transforms.io.kafka.url import FORM, KafkaAt, parse
from transforms.io.streams.fetcher import Limits


def topic_splits(url: str, sink: str, run: str, limits: Limits, splits: int) -> list[KafkaSplit]:
    """Return the splits of a topic; no more than it has partitions.

    Raises:
        ConfigError: the URL is wrong, there is no such topic, or it may not be read.
        Unavailable: the brokers do not answer.
    """
    at = parse(url)
    if not at.group:
        raise ConfigError(f"{at.where} names no group", f"write it as {FORM}: offsets are committed for it")
    topic = describe(admin_of(at), at, TIMEOUT)
    if at.start == "latest":
        consumer = consumer_of(at)
        try:
            _begin_at_the_end(consumer, at, topic, Positions(shared(sink), at.group, run))
        finally:
            consumer.close()
    of = min(splits, len(topic.partitions))
    return [KafkaSplit(at, number, of, sink, run, limits) for number in range(of)]


def _begin_at_the_end(consumer: Consumer, at: KafkaAt, topic: Topic, positions: Positions) -> None:
    """Commit the ends of all partitions, if the group is new.

    It is not if it has an offset in any of them, or if the tables know it: brokers forget the offsets of a group that has been idle for
    a week. Partitions that are found later are read from their beginning.
    """
    if committed(consumer, at, topic.partitions) or positions.knows(cluster_of(consumer, at), at.topic):
        return
    ends = [to_commit(at, topic.id, partition, Committed(bounds(consumer, at, partition)[1])) for partition in topic.partitions]
    ask(lambda: consumer.commit(offsets=ends, asynchronous=False), at)
