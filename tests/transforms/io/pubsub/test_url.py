"""Pub/Sub's URLs, and what is wrong with others."""

import pytest

from schemas.errors import ConfigError
from transforms.io.pubsub.url import parse


def test_a_subscription() -> None:
    at = parse("pubsub://project/events-sub")
    assert (at.subscription, at.topic) == ("projects/project/subscriptions/events-sub", "projects/project/topics/events-sub")
    assert at.where == "pubsub://project/events-sub"


@pytest.mark.parametrize("url", ["pubsub://project", "pubsub:///x", "pubsub://p/a/b", "pubsub://p/a?x=1", "kafka://p/a"])
def test_what_is_wrong_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="pubsub://project/subscription"):
        parse(url)
