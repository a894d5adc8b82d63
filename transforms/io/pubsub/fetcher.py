"""A Pub/Sub subscription in, receipts out; messages are acknowledged when everything that their receipt became is durable."""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha1
from time import monotonic
from typing import Any

from google.api_core.exceptions import DeadlineExceeded, GoogleAPICallError, NotFound, PermissionDenied, Unauthenticated
from google.cloud.pubsub_v1 import SubscriberClient

from schemas.errors import ConfigError, Unavailable
from schemas.message import Messages
from transforms.io.pubsub.url import PubSubAt
from transforms.io.streams.arrival import NOW, Arrivals, broker_time
from transforms.io.streams.fetcher import Fetcher, Limits, Read, new_receipt, now_micros
from transforms.metrics import Lag, Metric, count
from transforms.receipts.completed import completed

logger = logging.getLogger(__name__)

PULL_MESSAGES = 1_000  # the most that Pub/Sub gives at once
PULL_SECONDS = 2.0  # a pull waits so long for a message
PULLS = 3  # side by side: a pull brings what there is, often little
LEASE_SECONDS = 20  # by which a deadline is extended: what a killed process held comes again after that
IDS_AT_ONCE = 1_000  # in a request
_REFUSED = (NotFound, PermissionDenied, Unauthenticated)


@dataclass(frozen=True)
class PubSubSplit:
    """A subscription; every split pulls from all of it.

    Args:
        at: the subscription.
        number: which split.
        sink: the ClickHouse URL whose receipts are acknowledged.
        run: the run's UUID.
        limits: how much is read at once and held.
    """

    at: PubSubAt
    number: int
    sink: str
    run: str
    limits: Limits

    def connect(self) -> "PubSubFetcher":
        """Return a new fetcher."""
        return PubSubFetcher(self)


class Lease:
    """Messages of one pull, and until when they are ours."""

    def __init__(self, ids: list[str], until: float) -> None:
        self.ids = ids
        self.until = until


class _Pulled:
    """What one pull brought."""

    def __init__(self, lease: Lease, payloads: list[bytes], places: list[int], arrivals: list[int]) -> None:
        self.lease = lease
        self.payloads = payloads
        self.places = places
        self.arrivals = arrivals
        self.bytes = sum(map(len, payloads))
        self.since = monotonic()


class PubSubFetcher(Fetcher[list[Lease]]):
    """Pull a subscription. Small pulls are put together to receipts; deadlines are extended as long as a receipt is at work.

    Args:
        split: what to read.
    """

    def __init__(self, split: PubSubSplit) -> None:
        self._at = split.at
        self._client = SubscriberClient()
        self._deadline = deadline_of(self._client, split.at)
        self._queue: deque[_Pulled] = deque()
        self._calls = ThreadPoolExecutor(4, thread_name_prefix="pubsub")
        self._problem = ""
        self._arrivals = Arrivals(split.at.where)
        super().__init__(f"{split.at.where} split {split.number}", completed(split.sink), split.limits)
        self._threads += [self._start("pull", self._pull_always) for _ in range(PULLS)]
        self._threads.append(self._start("lease", self._lease_always))

    # Reading.

    def _read(self) -> Read[list[Lease]] | None:
        queue, limits = self._queue, self._limits
        if not queue:
            return None
        held, size = sum(len(pulled.payloads) for pulled in list(queue)), sum(pulled.bytes for pulled in list(queue))
        if held < limits.messages and size < limits.bytes and monotonic() - queue[0].since < limits.linger:
            return None
        taken: list[_Pulled] = []
        payloads: list[bytes] = []
        places: list[int] = []
        arrivals: list[int] = []
        while queue and (not taken or len(payloads) + len(queue[0].payloads) <= limits.messages):
            taken.append(queue.popleft())
            payloads += taken[-1].payloads
            places += taken[-1].places
            arrivals += taken[-1].arrivals
        messages = Messages(new_receipt(), self._at.where, payloads, places, now_micros(), arrivals)
        return Read(messages, [pulled.lease for pulled in taken])

    def _pull_always(self) -> None:
        request = {"subscription": self._at.subscription, "max_messages": PULL_MESSAGES}
        while not self._stop.is_set():
            if self._is_full():
                self._stop.wait(0.02)
                continue
            try:
                response = self._client.pull(request, timeout=PULL_SECONDS, retry=None)
            except DeadlineExceeded:
                continue  # there is nothing
            except _REFUSED as error:
                raise Unavailable(f"{self._at.where}: {error.message}") from error
            except GoogleAPICallError as error:
                self._heard(error)
                self._stop.wait(1.0)
                continue
            if received := type(response).pb(response).received_messages:
                self._take(received)

    def _take(self, received: Sequence[Any]) -> None:
        """Take in what a pull brought; of messages without data, which say nothing, just the acknowledgement is left to do."""
        now, messages = now_micros(), [one.message for one in received if one.message.data]
        lease = Lease([one.ack_id for one in received], monotonic() + self._deadline)
        count(Metric.MESSAGES_EMPTY, len(received) - len(messages))
        if not messages:
            self._acknowledge([(0, [lease])])
            return
        places = [number_of(message.message_id) for message in messages]
        arrivals = [arrival_of(message, now, self._arrivals) for message in messages]
        self._queue.append(_Pulled(lease, [message.data for message in messages], places, arrivals))

    def _is_full(self) -> bool:
        """Return whether there is no use in pulling more."""
        held = sum(len(pulled.payloads) for pulled in list(self._queue))
        is_blocked = 0 < self._limits.in_flight <= len(self._in_flight)
        return not self._reading or is_blocked or held >= 2 * self._limits.messages

    # Acknowledging.

    def _acknowledge(self, done: Sequence[tuple[int, list[Lease]]]) -> None:
        for ids in _portions(lease for _, leases in done for lease in leases):
            self._calls.submit(self._call, "acknowledge", {"subscription": self._at.subscription, "ack_ids": ids})

    def _give_back(self, dropped: Sequence[list[Lease]]) -> None:
        for ids in _portions(lease for leases in dropped for lease in leases):
            self._extend(ids, 0)

    def _expire(self, late: Sequence[int]) -> None:
        """Give back what was not completed in time: it is delivered again."""
        logger.warning("%s: %d receipts were not completed in %.0f s; they are given back", self.name, len(late), self._limits.timeout)
        with self._lock:
            self._give_back([leases for _, leases in self._in_flight.complete(late)])

    def _lease_always(self) -> None:
        while not self._stop.wait(min(1.0, self._deadline / 10)):
            now = monotonic()
            held = [pulled.lease for pulled in list(self._queue)]
            held += [lease for _, receipt in self._in_flight.all() for lease in receipt.what]
            due = [lease for lease in held if lease.until - now < min(self._deadline / 2, LEASE_SECONDS / 2)]
            for lease in due:
                lease.until = now + LEASE_SECONDS
            for ids in _portions(due):
                self._extend(ids, LEASE_SECONDS)

    def _extend(self, ids: list[str], seconds: int) -> None:
        request = {"subscription": self._at.subscription, "ack_ids": ids, "ack_deadline_seconds": seconds}
        self._calls.submit(self._call, "modify_ack_deadline", request)

    def _call(self, name: str, request: dict[str, Any]) -> None:
        try:
            getattr(self._client, name)(request)
        except GoogleAPICallError as error:
            self._heard(error)  # what is not acknowledged is delivered again, and is a duplicate then

    def _heard(self, error: GoogleAPICallError) -> None:
        """Say that Pub/Sub is away, once for each cause."""
        text = str(error.message)
        if text != self._problem:
            self._problem = text
            logger.warning("%s: %s", self._at.where, text)

    def _lag(self) -> Lag:
        """Return how long the oldest message in flight has waited; Pub/Sub does not say how many there are."""
        oldest = min((pulled.since for pulled in list(self._queue)), default=monotonic())
        oldest = min([oldest, *(receipt.since for _, receipt in self._in_flight.all())])
        return Lag(-1, monotonic() - oldest, self.in_flight)

    def _disconnect(self) -> None:
        self._give_back([[pulled.lease for pulled in self._queue]])
        self._calls.shutdown()
        self._client.close()


def _portions(leases: Iterator[Lease] | Sequence[Lease]) -> Iterator[list[str]]:
    ids = [one for lease in leases for one in lease.ids]
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ids[start : start + IDS_AT_ONCE]


def number_of(name: str) -> int:
    """Return a number that stays a message's own when it is delivered again: its id, which Pub/Sub writes in digits, or a hash of it."""
    return int(name) if name.isdigit() and len(name) < 20 else int.from_bytes(sha1(name.encode()).digest()[:8])


def arrival_of(message: Any, now: int, arrivals: Arrivals) -> int:
    """Return when the edge took a message, else when it was published; microseconds since 1970, 0 if nobody knows."""
    published = broker_time(message.publish_time.seconds * 1_000_000 + message.publish_time.nanos // 1_000, now)
    stamp = message.attributes.get(NOW)
    return arrivals.of(stamp, published) if stamp else published


def deadline_of(client: SubscriberClient, at: PubSubAt) -> int:
    """Return a subscription's deadline for acknowledgements, in seconds.

    Raises:
        ConfigError: there is no such subscription, or it may not be read.
        Unavailable: Pub/Sub does not answer.
    """
    try:
        return int(client.get_subscription({"subscription": at.subscription}, timeout=10.0).ack_deadline_seconds)
    except _REFUSED as error:
        raise ConfigError(f"{at.where}: {error.message}", "check the subscription's name, and who may read it") from error
    except GoogleAPICallError as error:
        raise Unavailable(f"{at.where}: {error.message}") from error
