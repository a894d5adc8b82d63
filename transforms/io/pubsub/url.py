"""Pub/Sub URLs come in, typed addresses go out: `pubsub://project/subscription`, or `pubsub://project/topic` for a producer."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from schemas.errors import ConfigError

FORM = "pubsub://project/subscription"


@dataclass(frozen=True)
class PubSubAt:
    """A subscription, or a topic."""

    project: str
    name: str

    @property
    def where(self) -> str:
        """Return the URL."""
        return f"pubsub://{self.project}/{self.name}"

    @property
    def subscription(self) -> str:
        """Return the name that the API knows a subscription by."""
        return f"projects/{self.project}/subscriptions/{self.name}"

    @property
    def topic(self) -> str:
        """Return the name that the API knows a topic by."""
        return f"projects/{self.project}/topics/{self.name}"


def parse(url: str) -> PubSubAt:
    """Return the address that a URL names.

    Raises:
        ConfigError: it is not one.
    """
    parts = urlsplit(url)
    name = parts.path.strip("/")
    if parts.scheme != "pubsub" or not parts.netloc or not name or "/" in name or parts.query:
        raise ConfigError(f"{url[:200]} is not a subscription of Pub/Sub", f"write it as {FORM}")
    return PubSubAt(parts.netloc, name)
