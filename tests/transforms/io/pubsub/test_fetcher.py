"""A subscription of Google's emulator, pulled and acknowledged."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

import pytest
from google.cloud.pubsub_v1 import PublisherClient

from schemas.errors import ConfigError
from schemas.message import Messages
from tests.servers.pubsub import PROJECT, PubSub
from transforms.io.pubsub.fetcher import PubSubFetcher
from transforms.io.pubsub.source import subscription_splits
from transforms.io.streams.fetcher import Limits, Mark
from transforms.receipts.completed import completed

RUN = "01935b1e-7c5a-7def-8123-456789abcdef"
LIMITS = Limits(messages=100, linger=0.05, in_flight=0)


def publish(name: str, values: Sequence[bytes], **attributes: str) -> None:
    with PublisherClient() as publisher:
        for future in [publisher.publish(f"projects/{PROJECT}/topics/{name}", value, **attributes) for value in values]:
            future.result(30)


class Job:
    """A fetcher and its reader."""

    def __init__(self, pubsub: PubSub, name: str, sink: str) -> None:
        self._sink = sink
        (split,) = subscription_splits(pubsub.url(name), sink, RUN, LIMITS, 1)
        self.fetcher: PubSubFetcher = split.connect()
        self.mark = Mark()

    def read(self, messages: int, timeout: float = 30.0) -> list[Messages]:
        found: list[Messages] = []
        deadline = monotonic() + timeout
        while sum(len(one.payloads) for one in found) < messages:
            assert monotonic() < deadline, f"only {sum(len(one.payloads) for one in found)}"
            found += self.read_now()
            sleep(0.002)
        return found

    def read_now(self) -> list[Messages]:
        polled = self.fetcher.poll(self.mark)
        if polled is None:
            return []
        receipt, self.mark = polled
        return [receipt]

    def complete(self, receipts: Sequence[Messages]) -> None:
        completed(self._sink).tell([one.receipt for one in receipts])


def payloads(receipts: Sequence[Messages]) -> list[bytes]:
    return sorted(payload for one in receipts for payload in one.payloads)


def places(receipts: Sequence[Messages]) -> dict[bytes, int]:
    return {payload: place for one in receipts for payload, place in zip(one.payloads, one.offsets, strict=True)}


def numbered(count: int) -> list[bytes]:
    return [b"%04d" % number for number in range(count)]


@pytest.fixture
def name(request: pytest.FixtureRequest, pubsub: PubSub) -> str:
    return pubsub.new_subscription(ack_deadline=getattr(request, "param", 10))


@pytest.fixture
def job(pubsub: PubSub, name: str, sink: str) -> Iterator[Job]:
    found = Job(pubsub, name, sink)
    yield found
    found.fetcher.close()


def test_small_pulls_are_put_together_and_arrivals_are_those_of_the_edge(job: Job, name: str) -> None:
    edge = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)
    publish(name, numbered(30), now=edge.isoformat())
    receipts = job.read(30)
    assert payloads(receipts) == numbered(30)
    assert {arrival for one in receipts for arrival in one.arrivals} == {int(edge.timestamp()) * 1_000_000}
    assert {one.source for one in receipts} == {f"pubsub://{PROJECT}/{name}"}
    assert len({place for one in receipts for place in one.offsets}) == 30


def test_what_was_published_without_a_time_arrived_when_it_was_published(job: Job, name: str) -> None:
    publish(name, [b"x"])
    (receipt,) = job.read(1)
    assert abs(receipt.arrivals[0] - receipt.arrival) < 60_000_000


@pytest.mark.parametrize("name", [60], indirect=True)
def test_what_is_acknowledged_never_comes_again_and_the_rest_does_at_once(pubsub: PubSub, job: Job, name: str, sink: str) -> None:
    publish(name, numbered(250))
    receipts = job.read(250)
    done, open_ = receipts[::2], receipts[1::2]
    assert open_
    job.complete(done)
    job.fetcher.close()
    began = monotonic()
    again = Job(pubsub, name, sink)
    try:
        assert payloads(again.read(len(payloads(open_)))) == payloads(open_)
        assert monotonic() - began < 40, "given back, and not left to its deadline of 60 s"
        sleep(0.5)
        assert again.read_now() == []
    finally:
        again.fetcher.close()


def test_deadlines_are_extended_while_a_receipt_is_at_work(job: Job, name: str) -> None:
    publish(name, numbered(20))
    receipts = job.read(20)
    deadline = monotonic() + 15
    while monotonic() < deadline:
        assert job.read_now() == [], "delivered again after its deadline of 10 s"
        sleep(0.1)
    job.complete(receipts)


def test_a_job_that_goes_back_gets_its_messages_again(job: Job, name: str) -> None:
    publish(name, numbered(20))
    start = job.mark
    first = job.read(20)
    publish(name, [b"later"])
    job.mark = start
    again = job.read(21)
    assert payloads(again) == [*numbered(20), b"later"]
    assert places(first).items() <= places(again).items(), "or an event without a uuid would get another one"


def test_what_is_not_completed_in_time_is_given_back(job: Job, name: str) -> None:
    publish(name, numbered(5))
    job.read(5)
    job.fetcher._limits = Limits(messages=100, linger=0.05, in_flight=0, timeout=0.5)
    assert payloads(job.read(5)) == numbered(5)


def test_a_subscription_that_is_not_there_is_refused(pubsub: PubSub, sink: str) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        subscription_splits(pubsub.url("nowhere"), sink, RUN, LIMITS, 1)
