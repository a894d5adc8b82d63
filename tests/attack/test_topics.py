"""A topic is not what its group's offsets say: made anew, cut off, grown, forgotten, or ahead of the tables. Nothing of it is skipped."""

import ctypes
import glob
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

import confluent_kafka
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions

from schemas.message import Messages
from schemas.outcomes import Report
from tests.servers.kafka import CLUSTER, Kafka
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.kafka import brokers
from transforms.io.kafka import fetcher as module
from transforms.io.kafka.fetcher import KafkaFetcher
from transforms.io.kafka.source import topic_splits
from transforms.io.migrate import migrate
from transforms.io.streams import fetcher as streams
from transforms.io.streams.fetcher import Limits, Mark
from transforms.metrics import Metric, lags, progress
from transforms.receipts import Ledger
from transforms.receipts.accounts import Account
from transforms.receipts.completed import Completed, completed

RUN = "01935b1e-7c5a-7def-8123-456789abcdef"
LIMITS = Limits(messages=100, linger=0.02, in_flight=0)
SECOND = 1_000_000


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(module, "COMMIT_SECONDS", 0.05)
    monkeypatch.setattr(streams, "LAG_SECONDS", 0.1)


@pytest.fixture(autouse=True)
def _counted() -> Iterator[None]:
    progress.clear()
    yield
    progress.clear()


class Job:
    """A fetcher and its reader; what it reads is stored at once."""

    def __init__(self, kafka: Kafka, topic: str, sink: str, start: str = "earliest", run: str = RUN, limits: Limits = LIMITS) -> None:
        self.sink = sink
        self.ledger = Ledger(sink, run)
        (split,) = topic_splits(f"{kafka.url(topic)}&start={start}", sink, run, limits, 1)
        self.fetcher: KafkaFetcher = split.connect()
        self.mark = Mark()

    def poll(self) -> list[Messages]:
        polled = self.fetcher.poll(self.mark)
        if polled is None:
            sleep(0.002)
            return []
        receipt, self.mark = polled
        return [receipt]

    def read(self, messages: int, timeout: float = 60.0) -> list[Messages]:
        """Return receipts that hold so many messages."""
        found: list[Messages] = []
        deadline = monotonic() + timeout
        while sum(len(one.payloads) for one in found) < messages:
            assert monotonic() < deadline, f"only {payloads(found)}"
            found += self.poll()
        return found

    def store(self, receipts: Sequence[Messages]) -> None:
        """Acknowledge receipts in the tables, as the last step does."""
        for one in receipts:
            account = Account(one.receipt)
            count = len(one.payloads)
            account.add(Report(one.receipt, [], parsed=count, read=count, source=one.source, start=one.start, end=one.end))
            self.ledger.acknowledge([account])

    def take(self, messages: int) -> list[Messages]:
        """Read, and store."""
        receipts = self.read(messages)
        self.store(receipts)
        return receipts

    def close(self) -> None:
        self.fetcher.close()


@pytest.fixture
def job(kafka: Kafka, sink: str) -> Iterator[Callable[..., Job]]:
    """Return what starts jobs, which are closed in the end."""
    jobs: list[Job] = []

    def start(topic: str, **options: object) -> Job:
        jobs.append(Job(kafka, topic, **{"sink": sink, **options}))  # type: ignore[arg-type]
        return jobs[-1]

    yield start
    for each in jobs:
        if not each.fetcher._stop.is_set():
            each.close()


@pytest.fixture
def topic(kafka: Kafka) -> str:
    return kafka.new_topic(1)


def send(kafka: Kafka, topic: str, values: Sequence[bytes | None], partition: int = 0, **options: object) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0})
    for value in values:
        producer.produce(topic, value, partition=partition, **options)
    assert producer.flush(30) == 0


def payloads(receipts: Sequence[Messages]) -> list[bytes]:
    return [payload for one in receipts for payload in one.payloads]


def numbered(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last)]


def wait(condition: Callable[[], object], timeout: float = 60.0) -> None:
    deadline = monotonic() + timeout
    while not condition():
        assert monotonic() < deadline
        sleep(0.01)


def committed(kafka: Kafka, topic: str, offset: int) -> Callable[[], bool]:
    return lambda: kafka.committed(topic, 1) == [offset]


def put_offset(kafka: Kafka, topic: str, offset: int, metadata: str = "") -> None:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "sluice"})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset, metadata)], asynchronous=False)
    consumer.close()


# A1: a topic that is made anew under its old name.


@pytest.mark.parametrize("length", [5, 40], ids=["shorter", "longer than the old one"])
def test_a_topic_made_anew_under_a_running_job_is_read_from_its_beginning(
    kafka: Kafka, topic: str, job: Callable[..., Job], client: Client, length: int
) -> None:
    send(kafka, topic, numbered(0, 30))
    running = job(topic)
    first = running.take(30)
    wait(committed(kafka, topic, 30))
    old = kafka.topic_id(topic)
    kafka.remake(topic)
    send(kafka, topic, numbered(0, length))
    seen: list[Messages] = []
    deadline = monotonic() + 60
    while monotonic() < deadline and sum(len(one.payloads) for one in seen if one.source != first[0].source) < length:
        seen += running.poll()
    anew = [one for one in seen if one.source != first[0].source]
    assert payloads(anew) == numbered(0, length)
    assert {one.source for one in anew} == {f"kafka://{CLUSTER}/{topic}/{kafka.topic_id(topic)}/0"} != {first[0].source}
    assert anew[0].offsets[0] == 0
    running.store(anew)
    wait(committed(kafka, topic, length))
    assert progress[Metric.POSITIONS_RESET] == (1 if kafka.committed(topic, 1) and remade(client) else 0)
    assert old != kafka.topic_id(topic)


def remade(client: Client) -> int:
    return len(client.rows("SELECT 1 FROM positions WHERE why = 'remade'"))


def test_a_topic_made_anew_while_no_job_ran_is_read_from_its_beginning(kafka: Kafka, topic: str, job: Callable[..., Job]) -> None:
    """Also if an offset of the old one was committed once more behind it, and the new one is longer already."""
    send(kafka, topic, numbered(0, 30))
    first = job(topic)
    before = first.take(30)
    wait(committed(kafka, topic, 30))
    metadata = metadata_of(kafka, topic)
    first.close()
    kafka.remake(topic)
    put_offset(kafka, topic, 30, metadata)
    send(kafka, topic, numbered(0, 50))
    again = job(topic)
    found = again.take(50)
    assert payloads(found) == numbered(0, 50)
    assert {one.source for one in found} != {one.source for one in before}
    assert progress[Metric.POSITIONS_RESET] == 1
    wait(committed(kafka, topic, 50))


def metadata_of(kafka: Kafka, topic: str) -> str:
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "sluice"})
    (one,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
    consumer.close()
    return one.metadata or ""


def test_a_topic_made_anew_on_brokers_without_ids_of_topics(
    kafka: Kafka, topic: str, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells them apart then is counted in the tables."""
    monkeypatch.setattr(module, "describe", lambda admin, at: brokers.describe(admin, at)._replace(id=""))
    send(kafka, topic, numbered(0, 30))
    running = job(topic)
    assert {one.source for one in running.take(30)} == {f"kafka://{CLUSTER}/{topic}/#1/0"}
    wait(committed(kafka, topic, 30))
    kafka.remake(topic)
    send(kafka, topic, numbered(0, 5))
    found = running.take(5)
    assert (payloads(found), found[0].source) == (numbered(0, 5), f"kafka://{CLUSTER}/{topic}/#2/0")
    wait(committed(kafka, topic, 5))
    running.close()
    send(kafka, topic, [b"more"])
    assert job(topic).take(1)[0].source == f"kafka://{CLUSTER}/{topic}/#2/0"


@pytest.mark.parametrize("metadata", ["", "somebody's"], ids=["old release", "another program"])
def test_an_offset_beyond_the_end_never_means_skip(
    kafka: Kafka, topic: str, job: Callable[..., Job], caplog: pytest.LogCaptureFixture, metadata: str
) -> None:
    """A topic that was cut off, or restored from a copy: the broker has less than the group has read."""
    send(kafka, topic, numbered(0, 20))
    put_offset(kafka, topic, 1_000, metadata)
    with caplog.at_level(logging.ERROR):
        running = job(topic)
        assert running.fetcher._lag().messages == 0  # nobody knows better, before it was looked at
        receipts = running.read(20)
    assert payloads(receipts) == numbered(0, 20)
    assert "the broker does not have the offset that comes next" in caplog.text
    assert (progress[Metric.POSITIONS_RESET], progress[Metric.MESSAGES_REREAD]) == (1, 20)
    assert running.fetcher._lag().messages == 20
    running.store(receipts)
    wait(committed(kafka, topic, 20))


# A6: partitions and offsets that a group does not have.


def test_latest_is_the_end_for_a_new_group_and_not_for_partitions_found_later(kafka: Kafka, topic: str, job: Callable[..., Job]) -> None:
    send(kafka, topic, numbered(0, 5))
    running = job(topic, start="latest")
    assert kafka.committed(topic, 1) == [5]
    send(kafka, topic, numbered(5, 8))
    assert payloads(running.take(3)) == numbered(5, 8)
    admin = kafka.admin()  # held: what it does ends with it
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    wait(lambda: len(admin.list_topics(topic).topics[topic].partitions) == 2)
    send(kafka, topic, numbered(0, 9), partition=1)
    assert payloads(running.take(9)) == numbered(0, 9)


def test_a_partition_that_appeared_while_no_job_ran_is_read_from_its_beginning(kafka: Kafka, topic: str, job: Callable[..., Job]) -> None:
    job(topic, start="latest").close()
    admin = kafka.admin()
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    wait(lambda: len(admin.list_topics(topic).topics[topic].partitions) == 2)
    send(kafka, topic, numbered(0, 9), partition=1)
    assert payloads(job(topic, start="latest").take(9)) == numbered(0, 9)


def forget(kafka: Kafka, group: str = "sluice") -> None:
    """Have the broker forget a group, as it does with one that commits nothing for a week."""
    admin = kafka.admin()
    admin.delete_consumer_groups([group])[group].result(30)


def test_a_group_whose_offsets_expired_is_no_new_group(kafka: Kafka, topic: str, job: Callable[..., Job]) -> None:
    send(kafka, topic, numbered(0, 5))
    first = job(topic, start="latest")
    send(kafka, topic, numbered(5, 8))
    first.take(3)
    first.close()
    send(kafka, topic, numbered(8, 20))
    forget(kafka)
    assert payloads(job(topic, start="latest").read(20)) == numbered(0, 20)


def test_offsets_that_do_not_change_are_committed_again(
    kafka: Kafka, topic: str, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.RECOMMIT_SECONDS <= 86_400
    monkeypatch.setattr(module, "RECOMMIT_SECONDS", 0.5)
    send(kafka, topic, numbered(0, 5))
    job(topic).take(5)
    wait(committed(kafka, topic, 5))
    forget(kafka)
    wait(committed(kafka, topic, 5))


# F(a): tables that were restored from a backup.


def restore(client: Client, lost: Sequence[Messages]) -> None:
    """Take receipts out of the ledger, as if they had come after the backup."""
    ids = ",".join(str(one.receipt) for one in lost)
    client.command(f"ALTER TABLE receipts DELETE WHERE receipt IN ({ids}) SETTINGS mutations_sync = 2")


def test_what_a_restored_backup_lacks_is_read_again(
    kafka: Kafka, topic: str, job: Callable[..., Job], client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    first = job(topic, limits=Limits(messages=10, linger=0.02, in_flight=0))
    send(kafka, topic, numbered(0, 60))
    receipts = first.take(60)
    wait(committed(kafka, topic, 60))
    first.close()
    restore(client, [receipts[2], *receipts[4:]])  # the third was still at work when the fourth was done
    with caplog.at_level(logging.ERROR):
        again = job(topic)
    begun = receipts[2].start
    assert "the tables lack what the group's offset says is stored" in caplog.text
    assert payloads(again.take(60 - begun)) == numbered(begun, 60)
    assert progress[Metric.MESSAGES_REREAD] == 60 - begun
    wait(committed(kafka, topic, 60))
    again.close()
    progress.clear()
    job(topic)
    assert progress[Metric.POSITIONS_RESET] == 0, "once is enough"


def test_a_new_sink_goes_on_where_the_group_was_and_says_so(
    kafka: Kafka, topic: str, job: Callable[..., Job], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    send(kafka, topic, numbered(0, 10))
    first = job(topic)
    first.take(10)
    wait(committed(kafka, topic, 10))
    first.close()
    close_all()
    other = f"chdb:{tmp_path / 'other'}"
    migrate(shared(other))
    send(kafka, topic, numbered(10, 15))
    with caplog.at_level(logging.WARNING):
        again = job(topic, sink=other)
    assert "the tables know nothing of what the group has read before" in caplog.text
    assert payloads(again.take(5)) == numbered(10, 15)
    assert progress[Metric.POSITIONS_RESET] == 0


@pytest.mark.parametrize("offset", [0, 7], ids=["back", "forward"])
def test_an_operators_word_goes_before_what_the_tables_have(kafka: Kafka, topic: str, job: Callable[..., Job], offset: int) -> None:
    """Who sets a group's offsets by hand wants just that, and writes no text of ours beside it."""
    send(kafka, topic, numbered(0, 10))
    first = job(topic)
    first.store(first.read(10))
    first.close()
    put_offset(kafka, topic, offset)
    assert payloads(job(topic).read(10 - offset)) == numbered(offset, 10)
    assert progress[Metric.POSITIONS_RESET] == 0


def test_a_database_of_an_older_release_keeps_its_topics_names(kafka: Kafka, topic: str, job: Callable[..., Job], client: Client) -> None:
    """Uuids of events without one are made of them: what is delivered again after the upgrade must be the same event."""
    plain = f"kafka://{CLUSTER}/{topic}/0"
    send(kafka, topic, numbered(0, 10))
    put_offset(kafka, topic, 6)
    client.command(f"INSERT INTO receipts (receipt, status, source, start, end) SELECT 1, 'acknowledged', '{plain}', 0, 6")
    running = job(topic)
    found = running.take(4)
    assert (payloads(found), {one.source for one in found}) == (numbered(6, 10), {plain})
    wait(committed(kafka, topic, 10))
    assert progress[Metric.POSITIONS_RESET] == 0
    running.close()
    send(kafka, topic, [b"more"])
    again = job(topic)
    assert {one.source for one in again.take(1)} == {plain}, "and so the next time"
    kafka.remake(topic)
    send(kafka, topic, [b"other"])
    assert {one.source for one in again.take(1)} == {f"kafka://{CLUSTER}/{topic}/{kafka.topic_id(topic)}/0"}


# B8, B9: times and headers that may be anything.

GOOD = 1_795_000_000_123  # milliseconds


@pytest.mark.parametrize(
    "milliseconds",
    [1, 1_000_000_000_000, GOOD * 1_000, GOOD * 1_000_000, GOOD + 86_400_000 * 365, 2**63 - 1, 4_294_967_296_000],
    ids=["near 0", "2001", "microseconds", "nanoseconds", "next year", "the largest", "2106"],
)
def test_a_time_that_cannot_be_is_no_arrival(kafka: Kafka, topic: str, job: Callable[..., Job], milliseconds: int) -> None:
    allow_any_time(kafka, topic)
    send(kafka, topic, [b"bad"], timestamp=milliseconds)
    send(kafka, topic, [b"good"], timestamp=GOOD)
    (receipt,) = job(topic).read(2)
    assert receipt.payloads == [b"bad", b"good"]
    assert receipt.arrivals == [0, GOOD * 1_000], "0: nobody knows, so that of reading"


def allow_any_time(kafka: Kafka, topic: str) -> None:
    """Have the broker take any time, as all did before 4.0."""
    from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

    entry = ConfigEntry("message.timestamp.after.max.ms", str(2**63 - 1), incremental_operation=AlterConfigOpType.SET)
    admin = kafka.admin()
    (answer,) = admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]).values()
    answer.result(30)


def test_headers_may_be_anything(kafka: Kafka, topic: str, job: Callable[..., Job]) -> None:
    edge = b"2026-11-18T11:00:00Z"
    for headers in (
        [("now", None)],
        [("x", None), ("now", edge)],
        [(f"h{number}", b"v") for number in range(5_000)] + [("now", edge)],
        [("now", b"\xff\xfe")],
        [("now", b"")],
        [("now", b"2026-01-01T00:00:00Z")],  # more than a week from the broker's time
        [("now", b"1")],
    ):
        send(kafka, topic, [b"m"], headers=headers, timestamp=GOOD)
    send_header(kafka, topic, b"\xff\xfe\xfd", GOOD, 50)  # Python calls in another way what has become hot
    send(kafka, topic, [b"last"], timestamp=GOOD)
    receipts = job(topic).read(58)
    took, stamped = GOOD * 1_000, 1_794_999_600_000_000
    assert [arrival for one in receipts for arrival in one.arrivals] == [took, stamped, stamped, *[took] * 55]
    assert progress[Metric.ARRIVALS_IGNORED] == 1


def send_header(kafka: Kafka, topic: str, name: bytes, milliseconds: int, times: int) -> None:
    """Send messages with a header of any name, which the library's Python side refuses: by its C side."""
    (path,) = glob.glob(str(Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs" / "librdkafka-*.so*"))
    c = ctypes.CDLL(path)
    for function in ("rd_kafka_conf_new", "rd_kafka_new"):
        getattr(c, function).restype = ctypes.c_void_p
    conf = ctypes.c_void_p(c.rd_kafka_conf_new())
    error = ctypes.create_string_buffer(512)
    assert c.rd_kafka_conf_set(conf, b"bootstrap.servers", kafka.bootstrap.encode(), error, ctypes.c_size_t(512)) == 0
    producer = ctypes.c_void_p(c.rd_kafka_new(0, conf, error, ctypes.c_size_t(512)))
    end, named, value, headed, at = 0, 1, 4, 9, 8  # rd_kafka_vtype_t: END, TOPIC, VALUE, HEADER, TIMESTAMP
    arguments = [ctypes.c_int(named), ctypes.c_char_p(topic.encode()), ctypes.c_int(value), ctypes.c_char_p(b"m"), ctypes.c_size_t(1)]
    arguments += [ctypes.c_int(at), ctypes.c_int64(milliseconds)]
    arguments += [ctypes.c_int(headed), ctypes.c_char_p(name), ctypes.c_char_p(b"v"), ctypes.c_ssize_t(1), ctypes.c_int(end)]
    for _ in range(times):
        assert c.rd_kafka_producev(producer, *arguments) == 0
    assert c.rd_kafka_flush(producer, 30_000) == 0
    c.rd_kafka_destroy(producer)


def test_tombstones_and_empty_messages_are_counted_and_acknowledged(kafka: Kafka, topic: str, job: Callable[..., Job]) -> None:
    send(kafka, topic, [None, b""], key=b"k")
    running = job(topic)
    wait(lambda: running.poll() or committed(kafka, topic, 2)())
    send(kafka, topic, [b"a", None, b"b", b""], key=b"k")
    (receipt,) = running.take(2)
    assert (receipt.payloads, receipt.offsets, receipt.start, receipt.end) == ([b"a", b"b"], [2, 4], 0, 6)
    wait(committed(kafka, topic, 6))
    assert progress[Metric.MESSAGES_EMPTY] == 4
    assert running.fetcher._lag().messages == 0


# C2: lag.


def transact(kafka: Kafka, topic: str, values: Sequence[bytes], commit: bool) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"of-{topic}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.flush(30)
    producer.commit_transaction(30) if commit else producer.abort_transaction(30)


@pytest.mark.parametrize("commits", [[True], [False], [True, False], [False, True, False, False]])
def test_lag_returns_to_0_after_transactions(kafka: Kafka, topic: str, job: Callable[..., Job], commits: list[bool]) -> None:
    running = job(topic)
    for commit in commits:
        transact(kafka, topic, [b"x", b"y"], commit)
    if any(commits):
        running.take(2)
    end = kafka.ends(topic, 1)[0]
    wait(lambda: running.poll() or committed(kafka, topic, end)())
    assert running.fetcher._lag()[:2] == (0, 0.0)


def test_lag_is_that_of_the_oldest_message_fetched_or_not(kafka: Kafka, topic: str, job: Callable[..., Job]) -> None:
    now = module.now_micros()
    for age in (3_000, 2_000, 1_000):
        send(kafka, topic, [b"m"], timestamp=now // 1_000 - age * 1_000)
    running = job(topic, limits=Limits(messages=1, linger=0.01, in_flight=1))
    ages = lambda: [running.fetcher._lag().seconds // 100 * 100 for _ in range(2)][-1]  # noqa: E731 - the second look asks the broker
    assert (running.fetcher._lag().messages, ages()) == (3, 3_000), "nothing was handed out yet"
    first = running.read(1)
    assert ages() == 3_000
    running.store(first)
    wait(lambda: running.fetcher.in_flight == 0)
    assert (running.fetcher._lag().messages, ages()) == (2, 2_000)


def test_lag_is_measured_and_offsets_are_committed_while_clickhouse_is_away(
    kafka: Kafka, topic: str, job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    back = threading.Event()

    def stored(self: Completed, receipts: Sequence[int]) -> list[int]:
        back.wait(60)
        return []

    monkeypatch.setattr(Completed, "stored", stored)
    monkeypatch.setattr(streams, "ASK_SECONDS", 0.01)
    send(kafka, topic, numbered(0, 10))
    running = job(topic)
    receipts = running.read(10)
    wait(lambda: lags[running.fetcher.name].messages == 10)
    send(kafka, topic, numbered(10, 25))
    wait(lambda: lags[running.fetcher.name].messages == 25)
    completed(running.sink).tell([one.receipt for one in receipts])
    wait(committed(kafka, topic, 10))
    back.set()
