"""Partitions of a Kafka topic in, receipts out; offsets are committed up to where everything is done."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import methodcaller
from time import monotonic
from typing import NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import ConfigError, Unavailable
from schemas.message import Messages
from transforms.io.clickhouse import shared
from transforms.io.kafka import brokers
from transforms.io.kafka.brokers import MISSING, NOT_LET_IN, REFUSED, Topic, ask, bounds, committed, describe, to_commit
from transforms.io.kafka.lag import Unread
from transforms.io.kafka.offsets import UNKNOWN, Committed, Offsets
from transforms.io.kafka.positions import Positions, Start, Why, first_start, next_start
from transforms.io.kafka.url import KafkaAt
from transforms.io.streams.arrival import NOW, Arrivals, broker_time
from transforms.io.streams.fetcher import Fetcher, Limits, Read, new_receipt, now_micros
from transforms.metrics import Lag, Metric, count
from transforms.receipts.completed import completed

logger = logging.getLogger(__name__)

LOOK_SECONDS = 5.0  # between two looks at whether the topic is the same, and has new partitions
MISSING_SECONDS = 30.0  # for a topic that was deleted to be made anew; then the job fails, and tries again from its start
COMMIT_SECONDS = 0.5
RECOMMIT_SECONDS = 6 * 3600.0  # brokers forget the offsets of a group that commits nothing for a week
_AT_ONCE = 1_000  # messages taken from librdkafka in one call
_GONE = {*MISSING, KafkaError._AUTO_OFFSET_RESET, KafkaError._LOG_TRUNCATION, KafkaError.OFFSET_OUT_OF_RANGE}


class Part(NamedTuple):
    """A receipt's partition."""

    partition: int
    receipt: int


@dataclass(frozen=True)
class KafkaSplit:
    """Every `of`-th partition of a topic, from `number` on; new ones are picked up.

    Args:
        at: the topic.
        number, of: which of how many splits.
        sink: the ClickHouse URL whose receipts are acknowledged.
        run: the run's UUID.
        limits: how much is read at once and held.
    """

    at: KafkaAt
    number: int
    of: int
    sink: str
    run: str
    limits: Limits

    def connect(self) -> "KafkaFetcher":
        """Return a new fetcher."""
        return KafkaFetcher(self)


class _Pending:
    """Messages of one partition that wait to become a receipt.

    Attributes:
        end: the offset after the last one, and after what cannot be read behind it.
        epoch: the leader epoch of the last one.
        took: when the broker took the first one, or it was read; microseconds since 1970.
    """

    def __init__(self, took: int) -> None:
        self.payloads: list[bytes] = []
        self.offsets: list[int] = []
        self.arrivals: list[int] = []  # microseconds since 1970
        self.bytes = 0
        self.end = 0
        self.epoch: int | None = UNKNOWN
        self.took = took
        self.since = monotonic()

    def cut(self, messages: int) -> "_Pending":
        """Return the first so many messages, and keep the rest."""
        first = _Pending(self.took)
        for name in ("payloads", "offsets", "arrivals"):
            whole = getattr(self, name)
            setattr(first, name, whole[:messages])
            setattr(self, name, whole[messages:])
        first.epoch = self.epoch if not self.payloads else UNKNOWN
        first.end = self.end
        if self.payloads:
            first.end, self.took = self.offsets[0], self.arrivals[0] or self.took
        self.bytes = sum(map(len, self.payloads))
        return first


class _Named(NamedTuple):
    """A topic, and what its sources are called."""

    id: str
    name: str
    partitions: list[int]

    def source(self, partition: int) -> str:
        return f"{self.name}/{partition}"


class KafkaFetcher(Fetcher[Part]):
    """Read partitions without joining the group, for which offsets are committed: the job's splits say who reads what, not Kafka.

    Args:
        split: what to read.
    """

    def __init__(self, split: KafkaSplit) -> None:
        self._at = split.at
        self._share = (split.number, split.of)
        self._offsets: dict[int, Offsets] = {}
        self._committed: dict[int, Committed] = {}
        self._pending: dict[int, _Pending] = {}
        self._topic = _Named("", "", [])
        self._lost: set[int] = set()  # partitions that do not have the offset that comes next
        self._ends: dict[int, int] = {}
        self._unread = Unread(split.at)
        self._arrivals = Arrivals(split.at.where)
        self._looked = self._seen = self._committed_at = self._all_committed_at = monotonic()
        self._problem = ""
        self._admin = brokers.admin_of(split.at, error_cb=self._heard)
        self._positions = Positions(shared(split.sink), split.at.group, split.run)
        self._consumer = Consumer(
            {
                **split.at.settings(),
                "group.id": split.at.group,
                "client.id": f"sluice-{split.number}",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",  # what the broker does not have is said, not skipped
                "enable.partition.eof": True,  # tells what cannot be read: marks of transactions, aborted messages
                "queued.max.messages.kbytes": 32 << 10,
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 2_000,
                "error_cb": self._heard,
                "log_level": 3,
            },
            logger=logging.getLogger("librdkafka"),
        )
        described = describe(self._admin, self._at)
        self._cluster = brokers.cluster_of(self._consumer, self._at)
        # How often a topic without an id was made, as far as is known; 0 if it has an id.
        self._makings = 0 if described.id else self._positions.count(self._cluster, self._at.topic)
        topic = self._named(described)
        self._take(topic, self._starts(topic, self._mine(topic)))
        super().__init__(f"{split.at.where} split {split.number}", completed(split.sink), split.limits)

    # Reading.

    def _read(self) -> Read[Part] | None:
        while messages := self._consumer.consume(_AT_ONCE, timeout=0):
            micros = now_micros()
            for message in messages:
                self._take_message(message, micros)
            if len(messages) < _AT_ONCE or any(self._is_full(pending) for pending in self._pending.values()):
                break
        now = monotonic()
        ready = [partition for partition, pending in self._pending.items() if self._is_ready(pending, now)]
        if not ready:
            return None
        partition = min(ready, key=lambda one: self._pending[one].since)
        pending = self._pending.pop(partition)
        receipt = self._receipt(partition, pending.cut(self._limits.messages))
        if pending.payloads:
            self._pending[partition] = pending
        return receipt

    def _take_message(self, message: Message, now: int) -> None:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            self._deal_with(error, partition, offset)
            return
        payload = message.value()
        if not payload:  # a tombstone, or an empty message: there is nothing to store
            count(Metric.MESSAGES_EMPTY, 1)
            self._pass_over(partition, offset + 1)
            return
        kind, milliseconds = message.timestamp()
        took = broker_time(milliseconds * 1000, now) if kind else 0
        stamp = stamp_of(message)
        pending = self._pending.get(partition)
        if pending is None:
            pending = self._pending[partition] = _Pending(took or now)
        pending.payloads.append(payload)
        pending.offsets.append(offset)
        pending.arrivals.append(took if stamp is None else self._arrivals.of(stamp, took))
        pending.bytes += len(message)
        pending.end = offset + 1
        pending.epoch = message.leader_epoch()

    def _is_ready(self, pending: _Pending, now: float) -> bool:
        return self._is_full(pending) or now - pending.since >= self._limits.linger

    def _is_full(self, pending: _Pending) -> bool:
        return len(pending.payloads) >= self._limits.messages or pending.bytes >= self._limits.bytes

    def _receipt(self, partition: int, pending: _Pending) -> Read[Part]:
        receipt, end = new_receipt(), pending.end
        start = self._offsets[partition].hand_out(receipt, end, UNKNOWN if pending.epoch is None else pending.epoch, pending.took)
        source = self._topic.source(partition)
        messages = Messages(receipt, source, pending.payloads, pending.offsets, now_micros(), pending.arrivals, "", start, end)
        return Read(messages, Part(partition, receipt))

    def _deal_with(self, error: KafkaError | None, partition: int | None, offset: int | None) -> None:
        if error is None:
            raise RuntimeError("a message of Kafka without a place")
        if error.code() == KafkaError._PARTITION_EOF and partition is not None and offset is not None:
            self._pass_over(partition, offset)
        elif error.code() in _GONE and partition is not None:
            self._lost.add(partition)
        elif error.code() in REFUSED or error.fatal():
            raise Unavailable(f"{self._at.where}: {error.str()}")
        else:
            self._heard(error)

    def _pass_over(self, partition: int, offset: int) -> None:
        """Go on behind what cannot be read, or says nothing."""
        pending = self._pending.get(partition)
        if pending is not None:
            pending.end, pending.epoch = offset, UNKNOWN
        else:
            self._offsets[partition].reach(offset)

    # Acknowledging.

    def _acknowledge(self, done: Sequence[tuple[int, Part]]) -> None:
        for receipt, part in done:
            if part.partition in self._offsets:
                self._offsets[part.partition].complete(receipt)

    def _give_back(self, dropped: Sequence[Part]) -> None:
        for part in dropped:
            if part.partition in self._offsets:
                self._offsets[part.partition].take_back(part.receipt)
        if dropped and not self._stop.is_set():
            self._assign()

    def _tend(self) -> None:
        super()._tend()
        now = monotonic()
        if self._stop.is_set() or now - self._committed_at > COMMIT_SECONDS:
            self._committed_at = now
            self._commit(now)
        if not self._stop.is_set() and (self._lost or now - self._looked > LOOK_SECONDS):
            self._looked = now
            self._look(now)

    def _commit(self, now: float) -> None:
        with self._lock:
            done = {partition: offsets.done for partition, offsets in self._offsets.items()}
        news = {partition: place for partition, place in done.items() if place != self._committed.get(partition)}
        if now - self._all_committed_at > RECOMMIT_SECONDS:
            news = done
        if not news:
            return
        places = [to_commit(self._at, self._topic.id, *one) for one in news.items()]
        try:
            self._consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            self._heard(error.args[0])  # tried again the next time
            return
        self._committed |= news
        if news is done:
            self._all_committed_at = now

    # Where to read.

    def _look(self, now: float) -> None:
        """Look whether the topic is still the one that is read, take in new partitions, and go on where an offset was not there."""
        try:
            topic = self._named(describe(self._admin, self._at))
            self._seen = now
            if topic.id != self._topic.id:
                self._start_anew(topic)
                return
            self._go_on(sorted(self._lost))
            if fresh := [partition for partition in self._mine(topic) if partition not in self._offsets]:
                starts = self._starts(topic, fresh)
                with self._lock:
                    self._take(topic, starts)
        except Unavailable as error:
            self._warn(str(error))  # tried again at the next look
        except ConfigError as error:
            if now - self._seen > MISSING_SECONDS:
                raise
            self._warn(error.problem)

    def _named(self, topic: Topic) -> _Named:
        identity = topic.id or f"#{self._makings}"
        is_known = identity == self._topic.id
        name = self._topic.name if is_known else self._positions.name(self._cluster, self._at.topic, identity)
        return _Named(identity, name, topic.partitions)

    def _mine(self, topic: _Named) -> list[int]:
        number, of = self._share
        return [partition for partition in topic.partitions if partition % of == number]

    def _start_anew(self, topic: _Named) -> None:
        """Read a topic that was made anew under the old one's name. What is in flight of the old one is stored, and not committed."""
        left = sum(max(0, self._ends.get(partition, 0) - offsets.next) for partition, offsets in self._offsets.items())
        count(Metric.MESSAGES_EXPIRED, left)
        logger.error("%s: the topic was deleted and made anew; %d messages of the old one were not read", self._at.where, left)
        starts = self._starts(topic, self._mine(topic))
        with self._lock:
            for held in (self._offsets, self._committed, self._ends):
                held.clear()
            self._take(topic, starts)

    def _go_on(self, partitions: Sequence[int]) -> None:
        """Go on where the broker does not have the offset that comes next."""
        for partition in partitions:
            low, high = bounds(self._consumer, self._at, partition)
            offsets = self._offsets[partition]
            start = next_start(offsets.next, low, high, offsets.done.receipt)
            if start.why == Why.TRUNCATED and self._makings:  # a broker without ids of topics: it may be another one
                self._makings += 1
                return
            self._say(self._topic, {partition: start})
            with self._lock:
                if start.why == Why.EXPIRED:
                    offsets.skip_to(low)
                else:
                    self._offsets[partition] = Offsets(start.at)
                self._lost.discard(partition)
        if partitions:
            with self._lock:
                self._assign()

    def _starts(self, topic: _Named, partitions: Sequence[int]) -> dict[int, Start]:
        """Return where to begin; and commit that, so that lag is told from the start."""
        found = committed(self._consumer, self._at, partitions)
        last = {topic.source(partition): at.receipt for partition, (at, of) in found.items() if at.receipt and of == topic.id}
        stored = self._positions.stored(last)
        if None in stored.values():
            logger.warning(
                "%s: the tables know nothing of what the group has read before; it goes on where it was. To have all of it here,"
                " take another group",
                self._at.where,
            )
        starts = {}
        for partition in partitions:
            end = stored.get(topic.source(partition))
            needs_low = partition not in found or found[partition][1] not in ("", topic.id) or end is not None
            low = bounds(self._consumer, self._at, partition)[0] if needs_low else 0
            starts[partition] = first_start(found.get(partition), topic.id, low, end)
        self._say(topic, starts)
        places = [to_commit(self._at, topic.id, partition, start.at) for partition, start in starts.items()]
        if places:
            ask(lambda: self._consumer.commit(offsets=places, asynchronous=False), self._at)
        return starts

    def _say(self, topic: _Named, starts: Mapping[int, Start]) -> None:
        """Record where partitions are begun, and say it where that is not where the group had left them."""
        self._positions.write(topic.id, [(topic.source(partition), start) for partition, start in starts.items()])
        for partition, start in starts.items():
            if start.why in SAID:
                logger.error("%s partition %d: " + SAID[start.why], self._at.where, partition, start.messages, start.at.offset)
                count(Metric.POSITIONS_RESET, 1)
                count(Metric.MESSAGES_EXPIRED if start.why == Why.EXPIRED else Metric.MESSAGES_REREAD, start.messages)

    def _take(self, topic: _Named, starts: Mapping[int, Start]) -> None:
        self._topic = topic
        self._offsets |= {partition: Offsets(start.at) for partition, start in starts.items()}
        self._committed |= {partition: start.at for partition, start in starts.items()}
        self._lost.clear()
        self._assign()

    def _assign(self) -> None:
        self._pending.clear()
        places = [TopicPartition(self._at.topic, partition, *offsets.position) for partition, offsets in self._offsets.items()]
        self._consumer.assign(places)

    # Lag.

    def _lag(self) -> Lag:
        messages, now = 0, now_micros()
        oldest = now
        for partition, offsets in list(self._offsets.items()):
            done = offsets.done.offset
            if (waiting := self._end(partition) - done) > 0:
                messages += waiting
                oldest = min(oldest, offsets.oldest or self._oldest_unread(partition, offsets.next, now))
        return Lag(messages, (now - oldest) / 1e6, self.in_flight)

    def _end(self, partition: int) -> int:
        """Return where a partition ends; as far as is known, if the brokers do not answer."""
        try:
            self._ends[partition] = bounds(self._consumer, self._at, partition, timeout=1.0)[1]
        except (Unavailable, ConfigError) as error:
            self._warn(str(error))
        return self._ends.get(partition, 0)

    def _oldest_unread(self, partition: int, offset: int, now: int) -> int:
        pending = self._pending.get(partition)
        return pending.took if pending is not None else self._unread.since(partition, offset, now)

    def _heard(self, error: KafkaError) -> None:
        if error.code() in NOT_LET_IN:  # the password may be another one by now
            for client in (self._consumer, self._admin):
                client.set_sasl_credentials(self._at.user, self._at.password.read())
        self._warn(error.str())

    def _warn(self, text: str) -> None:
        """Say that the brokers are away, once for each cause; it is tried again."""
        if text != self._problem:
            self._problem = text
            logger.warning("%s: %s", self._at.where, text)

    def _disconnect(self) -> None:
        self._consumer.close()


# What is said of a partition: messages, then the offset at which it is begun.
SAID = {
    Why.REMADE: "the group's offset is of another topic that had this name (%d messages are read again); it begins at %d",
    Why.EXPIRED: "the broker deleted %d messages before they were read; check its retention. It goes on at %d",
    Why.TRUNCATED: "the broker does not have the offset that comes next: the topic was cut off, or restored. At least %d messages are read"
    " again, from %d on; those that are stored are duplicates",
    Why.BEHIND: "the tables lack what the group's offset says is stored: was a backup restored? %d offsets are read again, from %d on",
}


# Of a header whose name is no UTF-8 the library makes a list with a hole in it, sets an exception, and returns the list. Python notices
# that when a method is called by name. In `message.headers()` it does not, once the line has become hot: then the process crashes.
_headers_of = methodcaller("headers")


def stamp_of(message: Message) -> bytes | str | None:
    """Return what the edge has stamped on a message; nothing if the headers cannot be read."""
    try:
        headers = _headers_of(message)
    except (SystemError, UnicodeError):
        return None
    found: bytes | str | None = None
    for name, value in headers or ():
        if name == NOW:
            found = value
    return found or None
