"""`ReadPubSub`: a subscription in, `Messages` out, read by Beam's own `ReadFromPubSub`: for Dataflow, which has that built in."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from schemas.message import Messages
from transforms.io.pubsub.fetcher import number_of
from transforms.io.pubsub.url import PubSubAt
from transforms.io.streams.arrival import NOW, Arrivals, broker_time
from transforms.io.streams.fetcher import new_receipt, now_micros
from transforms.metrics import Metric, count


@dataclass
class ReadPubSub(beam.PTransform):
    """A PTransform which reads a subscription on Dataflow, and puts the messages of a bundle together.

    `PBegin` -> `PCollection[Messages]`, one a receipt. Dataflow acknowledges a message when the messages of its bundle are safe in its own
    shuffle, and brings them to their end however often a worker fails; the shuffle also fixes the receipts, so that
    a bundle that is run again has the same.

    Args:
        at: the subscription.
        messages: the most of a receipt.
    """

    at: PubSubAt
    messages: int = 4_000

    def __post_init__(self) -> None:
        super().__init__()
        if self.messages < 1:
            raise ValueError(f"messages is {self.messages}, but must be at least 1")

    def expand(self, begin: beam.pvalue.PBegin) -> beam.PCollection:
        """Wire the step."""
        return (
            begin
            | "ReadFromPubSub" >> beam.io.ReadFromPubSub(subscription=self.at.subscription, with_attributes=True)
            | "GatherMessages" >> beam.ParDo(_GatherFn(self.at.where, self.messages)).with_output_types(Messages)
            | "FixReceipts" >> beam.Reshuffle()
        )


class _GatherFn(beam.DoFn):
    def __init__(self, source: str, messages: int) -> None:
        self._source = source
        self._messages = messages
        self._arrivals = Arrivals(source)

    def start_bundle(self) -> None:
        self._held: list[Any] = []

    def process(self, message: Any) -> Iterator[Messages]:
        if not message.data:  # says nothing: Dataflow acknowledges it
            count(Metric.MESSAGES_EMPTY, 1)
            return
        self._held.append(message)
        if len(self._held) >= self._messages:
            yield self._take()

    def finish_bundle(self) -> Iterator[WindowedValue]:
        if self._held:
            yield GlobalWindows.windowed_value(self._take())

    def _take(self) -> Messages:
        held, self._held = self._held, []
        now = now_micros()
        places = [number_of(message.message_id) for message in held]
        arrivals = [_arrival(message, now, self._arrivals) for message in held]
        return Messages(new_receipt(), self._source, [message.data for message in held], places, now, arrivals)


def _arrival(message: Any, now: int, arrivals: Arrivals) -> int:
    """Return when the edge took a message, else when it was published; microseconds since 1970, 0 if nobody knows."""
    time = message.publish_time
    published = 0 if time is None else broker_time(int(time.timestamp() * 1e6), now)
    stamp = (message.attributes or {}).get(NOW)
    return arrivals.of(stamp, published) if stamp else published
