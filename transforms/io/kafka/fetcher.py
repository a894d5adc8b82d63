"""Partitions of a Kafka topic in, receipts out; offsets are committed up to where everything is done."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_fixed

from schemas.errors import ConfigError, Unavailable
from schemas.message import Messages
from transforms.io.kafka.offsets import Offsets
from transforms.io.kafka.url import KafkaAt
from transforms.io.streams.fetcher import Fetcher, Limits, Read, new_receipt, now_micros
from transforms.metrics import Lag, Metric, count
from transforms.parse.timestamps import parse_arrival
from transforms.receipts.completed import completed

logger = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds for a question to the brokers
NEW_PARTITIONS_SECONDS = 30.0
COMMIT_SECONDS = 0.5
NOW_HEADER = "now"  # PostHog's capture writes the time of arrival there
Answer = TypeVar("Answer")
_AT_ONCE = 1_000  # messages taken from librdkafka in one call
_GONE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}
_WRONG = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED}

_NOT_LET_IN = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}


class Part(NamedTuple):
    """A receipt's offsets, `[start, end)`."""

    partition: int
    start: int
    end: int


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
    """Messages of one partition that wait to become a receipt."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.offsets: list[int] = []
        self.arrivals: list[int] = []  # microseconds since 1970
        self.bytes = 0
        self.since = monotonic()

    def add(self, message: Message, offset: int, now: int) -> None:
        self.payloads.append(message.value() or b"")
        self.offsets.append(offset)
        self.arrivals.append(arrival_of(message, now))
        self.bytes += len(message)

    def cut(self, messages: int) -> "_Pending":
        """Return the first so many messages, and keep the rest."""
        first = _Pending()
        for name in ("payloads", "offsets", "arrivals"):
            whole = getattr(self, name)
            setattr(first, name, whole[:messages])
            setattr(self, name, whole[messages:])
        self.bytes = sum(map(len, self.payloads))
        return first


class KafkaFetcher(Fetcher[Part]):
    """Read partitions without joining the group, for which offsets are committed: the job's splits say who reads what, not Kafka.

    Args:
        split: what to read.
    """

    def __init__(self, split: KafkaSplit) -> None:
        self._at = split.at
        self._share = (split.number, split.of)
        self._offsets: dict[int, Offsets] = {}
        self._committed: dict[int, int] = {}
        self._pending: dict[int, _Pending] = {}
        self._looked = self._committed_at = monotonic()
        self._problem = ""
        self._seen: dict[int, int] = {}  # arrival of the newest message by partition, microseconds
        self._consumer = Consumer(
            {
                **split.at.settings(),
                "group.id": split.at.group,
                "client.id": f"sluice-{split.number}",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",  # what the broker has deleted is said, not skipped
                "enable.partition.eof": False,
                "queued.max.messages.kbytes": 32 << 10,
                "fetch.wait.max.ms": 100,
                "reconnect.backoff.max.ms": 2_000,
                "error_cb": self._heard,
                "log_level": 3,
            },
            logger=logging.getLogger("librdkafka"),
        )
        self._cluster = self._take_partitions()
        super().__init__(f"{split.at.where} split {split.number}", completed(split.sink), split.limits)

    # Reading.

    def _read(self) -> Read[Part] | None:
        while messages := self._consumer.consume(_AT_ONCE, timeout=0):
            micros = now_micros()
            for message in messages:
                self._take(message, micros)
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

    def _take(self, message: Message, now: int) -> None:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            self._deal_with(error, partition)
            return
        pending = self._pending.get(partition)
        if pending is None:
            pending = self._pending[partition] = _Pending()
        pending.add(message, offset, now)

    def _is_ready(self, pending: _Pending, now: float) -> bool:
        return self._is_full(pending) or now - pending.since >= self._limits.linger

    def _is_full(self, pending: _Pending) -> bool:
        return len(pending.payloads) >= self._limits.messages or pending.bytes >= self._limits.bytes

    def _receipt(self, partition: int, pending: _Pending) -> Read[Part]:
        receipt, end = new_receipt(), pending.offsets[-1] + 1
        start = self._offsets[partition].hand_out(receipt, end)
        self._seen[partition] = pending.arrivals[-1]
        source = f"kafka://{self._cluster}/{self._at.topic}/{partition}"
        messages = Messages(receipt, source, pending.payloads, pending.offsets, now_micros(), pending.arrivals, "", start, end)
        return Read(messages, Part(partition, start, end))

    def _deal_with(self, error: KafkaError | None, partition: int | None) -> None:
        if error is None:
            raise RuntimeError("a message of Kafka without a place")
        if error.code() in _GONE and partition is not None:
            self._skip(partition)
        elif error.code() in _WRONG or error.fatal():
            raise Unavailable(f"{self._at.where}: {error.str()}")
        else:
            self._heard(error)

    def _skip(self, partition: int) -> None:
        """Go on at the oldest message that is left: the broker has deleted what was not read yet."""
        low, high = self._bounds(partition)
        offsets = self._offsets[partition]
        lost = max(0, low - offsets.next)
        count(Metric.MESSAGES_EXPIRED, lost)
        logger.error(
            "%s partition %d: the broker deleted %d messages before they were read; check its retention", self._at.where, partition, lost
        )
        offsets.skip_to(low if lost else high)
        self._assign()

    # Acknowledging.

    def _acknowledge(self, done: Sequence[tuple[int, Part]]) -> None:
        for receipt, part in done:
            self._offsets[part.partition].complete(receipt)

    def _give_back(self, dropped: Sequence[Part]) -> None:
        starts: dict[int, int] = {}
        for part in dropped:
            starts[part.partition] = min(part.start, starts.get(part.partition, part.start))
        for partition, start in starts.items():
            self._offsets[partition].take_back(start)
        if dropped and not self._stop.is_set():
            self._pending.clear()
            self._assign()

    def _tend(self) -> None:
        super()._tend()
        now = monotonic()
        if self._stop.is_set() or now - self._committed_at > COMMIT_SECONDS:
            self._committed_at = now
            self._commit()
        if now - self._looked > NEW_PARTITIONS_SECONDS:
            self._looked = now
            self._take_partitions()

    def _commit(self) -> None:
        with self._lock:
            news = {
                partition: offsets.done for partition, offsets in self._offsets.items() if offsets.done > self._committed.get(partition, -1)
            }
        if not news:
            return
        try:
            self._consumer.commit(offsets=[self._at_offset(*one) for one in news.items()], asynchronous=False)
        except KafkaException as error:
            self._heard(error.args[0])  # tried again the next time
            return
        self._committed |= news

    # Partitions.

    def _take_partitions(self) -> str:
        """Take in the split's partitions that are not read yet; return the cluster's id."""
        topics = ask(lambda: self._consumer.list_topics(self._at.topic, timeout=TIMEOUT), self._at)
        found = topics.topics[self._at.topic]
        if found.error is not None:
            raise ConfigError(f"{self._at.where}: {found.error.str()}", "check the topic's name, and who may read it")
        number, of = self._share
        fresh = [partition for partition in sorted(found.partitions) if partition % of == number and partition not in self._offsets]
        if fresh:
            starts = self._starts(fresh)
            with getattr(self, "_lock", threading.RLock()):  # which the first call comes before
                self._offsets |= {partition: Offsets(start) for partition, start in starts.items()}
                self._assign()
        return topics.cluster_id or self._at.servers

    def _starts(self, partitions: Sequence[int]) -> dict[int, int]:
        """Return where to begin: at the group's offsets, or where the URL says; and commit that, so that lag is told from the start."""
        asked = [TopicPartition(self._at.topic, partition) for partition in partitions]
        known = ask(lambda: self._consumer.committed(asked, timeout=TIMEOUT), self._at)
        starts, first = {}, {}
        for found in known:
            if found.offset >= 0:
                starts[found.partition] = found.offset
                self._committed[found.partition] = found.offset
            else:
                low, high = self._bounds(found.partition)
                starts[found.partition] = first[found.partition] = low if self._at.start == "earliest" else high
        if first:
            ask(lambda: self._consumer.commit(offsets=[self._at_offset(*one) for one in first.items()], asynchronous=False), self._at)
            self._committed |= first
        return starts

    def _bounds(self, partition: int) -> tuple[int, int]:
        found = ask(lambda: self._consumer.get_watermark_offsets(TopicPartition(self._at.topic, partition), timeout=TIMEOUT), self._at)
        return int(found[0]), int(found[1])

    def _assign(self) -> None:
        self._pending.clear()
        self._consumer.assign([self._at_offset(partition, offsets.next) for partition, offsets in self._offsets.items()])

    def _at_offset(self, partition: int, offset: int) -> TopicPartition:
        return TopicPartition(self._at.topic, partition, offset)

    def _lag(self) -> Lag:
        messages, oldest, now = 0, now_micros(), now_micros()
        for partition, offsets in list(self._offsets.items()):
            try:
                _, high = self._consumer.get_watermark_offsets(TopicPartition(self._at.topic, partition), timeout=1.0)
            except KafkaException as error:
                self._heard(error.args[0])
                continue
            messages += max(0, high - offsets.done)
            if high > offsets.done:
                oldest = min(oldest, self._seen.get(partition, now))
        return Lag(messages, (now - oldest) / 1e6, self.in_flight)

    def _heard(self, error: KafkaError) -> None:
        """Say that the brokers are away, once for each cause; librdkafka tries again by itself."""
        if error.code() in _NOT_LET_IN:  # the password may be another one by now
            self._consumer.set_sasl_credentials(self._at.user, self._at.password.read())
        text = error.str()
        if text != self._problem:
            self._problem = text
            logger.warning("%s: %s", self._at.where, text)

    def _disconnect(self) -> None:
        self._consumer.close()


def arrival_of(message: Message, now: int) -> int:
    """Return when the edge took a message, else when it was produced, else now; microseconds since 1970."""
    headers = message.headers()
    if headers:
        for name, value in dict(headers).items():
            if name == NOW_HEADER and value and (arrival := parse_arrival(_text(value))) is not None:
                return arrival
    kind, milliseconds = message.timestamp()
    return milliseconds * 1000 if kind else now


# A coordinator that has just started, or moved.
_SOON = {KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE}


def _will_answer_soon(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() in _SOON


_patient = Retrying(retry=retry_if_exception(_will_answer_soon), stop=stop_after_delay(TIMEOUT), wait=wait_fixed(0.2), reraise=True)


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode(errors="replace")


def ask(question: Callable[[], Answer], at: KafkaAt) -> Answer:
    """Return the brokers' answer.

    Raises:
        Unavailable: there is none.
        ConfigError: they do not let us in.
    """
    try:
        return _patient(question)
    except KafkaException as error:
        cause: KafkaError = error.args[0]
        if cause.code() in _WRONG or cause.code() in _NOT_LET_IN:
            raise ConfigError(f"{at.where}: {cause.str()}", "check the topic, user and password") from error
        raise Unavailable(f"{at.where}: {cause.str()}") from error
