"""URLs of streams in, the splits that they are read in out."""

from collections.abc import Sequence

from schemas.errors import ConfigError
from transforms.io.streams.fetcher import Limits
from transforms.io.streams.source import Split

SCHEMES = ("kafka", "pubsub")
SPLITS = 2  # of a subscription; and of a topic, at most: one process reads them all on one machine


def is_stream(url: str) -> bool:
    """Return whether a source is a stream, by its URL's scheme."""
    return url.partition("://")[0] in SCHEMES


def splits_of(url: str, sink: str, run: str, limits: Limits, splits: int | None = None) -> Sequence[Split]:
    """Return the splits in which a stream is read.

    Args:
        url: `kafka://...` or `pubsub://...`.
        sink: the ClickHouse URL that receipts are acknowledged in.
        run: the run's UUID.
        limits: how much is read at once and held by each.
        splits: how many; of a topic never more than it has partitions.

    Raises:
        ConfigError: the URL is wrong, or there is nothing of that name that may be read.
        Unavailable: the brokers do not answer.
    """
    # Only what is used is imported.
    if url.startswith("kafka:"):
        from transforms.io.kafka.source import topic_splits

        return topic_splits(url, sink, run, limits, splits or SPLITS)
    if url.startswith("pubsub:"):
        from transforms.io.pubsub.source import subscription_splits

        return subscription_splits(url, sink, run, limits, splits or SPLITS)
    raise ConfigError(f"{url.partition('://')[0]}:// is no stream", f"streams are {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
