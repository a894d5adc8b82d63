"""A topic's URL in, the splits in which it is read out."""

import logging

from confluent_kafka import Consumer

from schemas.errors import ConfigError
from transforms.io.kafka.fetcher import TIMEOUT, KafkaSplit, ask
from transforms.io.kafka.url import FORM, parse
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
    consumer = Consumer({**at.settings(), "group.id": at.group, "log_level": 3}, logger=logging.getLogger("librdkafka"))
    try:
        topic = ask(lambda: consumer.list_topics(at.topic, timeout=TIMEOUT), at).topics[at.topic]
    finally:
        consumer.close()
    if topic.error is not None:
        raise ConfigError(f"{at.where}: {topic.error.str()}", "check the topic's name, and who may read it")
    of = min(splits, len(topic.partitions))
    return [KafkaSplit(at, number, of, sink, run, limits) for number in range(of)]
