"""The limits that PostHog's users know, and how ours fit among them and the tables."""

from schemas import limits
from schemas.identity import BUCKETS


def test_posthogs_limits() -> None:
    """The values of PostHog's own capture and ingestion; its clients rely on them."""
    assert limits.MAX_EVENT_NAME == 200
    assert limits.MAX_DISTINCT_ID == 200
    assert limits.MAX_ACCEPTED_DISTINCT_ID == 400
    assert limits.MAX_TOKEN_BYTES == 64
    assert limits.MAX_MESSAGE_BYTES == 1_000_000
    assert limits.MAX_BODY_BYTES == 20_000_000
    assert limits.MAX_FUTURE_SECONDS == 82_800


def test_what_is_accepted_fits_into_what_holds_it() -> None:
    assert limits.MAX_DISTINCT_ID < limits.MAX_ACCEPTED_DISTINCT_ID
    assert limits.MAX_MESSAGE_BYTES < limits.MAX_BODY_BYTES
    assert limits.MAX_DEPTH < 1_000  # ClickHouse's limit for JSON


def test_a_shard_is_a_whole_number_of_buckets_for_every_power_of_two() -> None:
    assert [BUCKETS % 2**power for power in range(9)] == [0] * 9
