"""A subscription's URL in, the splits in which it is read out."""

from google.cloud.pubsub_v1 import SubscriberClient

from transforms.io.pubsub.fetcher import PubSubSplit, deadline_of
from transforms.io.pubsub.url import parse
from transforms.io.streams.fetcher import Limits


def subscription_splits(url: str, sink: str, run: str, limits: Limits, splits: int) -> list[PubSubSplit]:
    """Return the splits of a subscription.

    Raises:
        ConfigError: the URL is wrong, there is no such subscription, or it may not be read.
        Unavailable: Pub/Sub does not answer.
    """
    at = parse(url)
    with SubscriberClient() as client:
        deadline_of(client, at)
    return [PubSubSplit(at, number, sink, run, limits) for number in range(splits)]
