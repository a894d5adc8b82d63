"""What Dataflow reads, as receipts; without Dataflow."""

from datetime import UTC, datetime
from typing import Any

import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage

from transforms.io.pubsub.fetcher import number_of
from transforms.io.pubsub.read_pubsub import ReadPubSub, _GatherFn
from transforms.io.pubsub.url import PubSubAt

PUBLISHED = datetime(2026, 11, 1, 12, tzinfo=UTC)


def message(number: int, **attributes: str) -> PubsubMessage:
    return PubsubMessage(b"%d" % number, attributes, message_id=str(number), publish_time=PUBLISHED)


def bundle(messages: list[Any], most: int) -> list[Any]:
    step = _GatherFn("pubsub://p/s", most)
    step.start_bundle()
    found = [one for each in messages for one in step.process(each)]
    return found + [one.value for one in step.finish_bundle()]


def test_the_messages_of_a_bundle_are_put_together() -> None:
    found = bundle([message(number) for number in range(5)], most=2)
    assert [one.payloads for one in found] == [[b"0", b"1"], [b"2", b"3"], [b"4"]]
    assert [one.offsets for one in found] == [[0, 1], [2, 3], [4]]
    assert len({one.receipt for one in found}) == 3
    assert {one.source for one in found} == {"pubsub://p/s"}


def test_the_edges_time_goes_before_the_time_of_publishing() -> None:
    (found,) = bundle([message(1, now="2026-11-01T11:00:00Z"), message(2), message(3, now="rubbish")], most=9)
    noon = int(PUBLISHED.timestamp()) * 1_000_000
    assert found.arrivals == [noon - 3_600_000_000, noon, noon]


def test_an_empty_bundle_is_no_receipt() -> None:
    assert bundle([], most=9) == []


@pytest.mark.parametrize(("name", "number"), [("123", 123), ("0", 0), ("x", int.from_bytes(bytes.fromhex("11f6ad8ec52a2984")))])
def test_a_message_keeps_its_number(name: str, number: int) -> None:
    assert number_of(name) == number


def test_a_receipt_holds_a_message_at_least() -> None:
    with pytest.raises(ValueError, match="messages is 0"):
        ReadPubSub(PubSubAt("p", "s"), 0)
