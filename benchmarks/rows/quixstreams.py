"""Quix Streams: a Kafka topic, a `State` in RocksDB an id, a BatchingSink that inserts at each checkpoint.

The topic is filled beforehand, with the id as the key of a message, so that nothing has to be repartitioned; neither that nor the broker is
measured. Messages stay bytes until the duplicates are gone. No changelog topic backs up the state, as it would cost more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Producer
from quixstreams import Application, State
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.rows import Job, Load, Unavailable
from benchmarks.rows.clickhouse import stored, warm_up
from benchmarks.rows.common import AT_ONCE, EventRow, identify, insert, lines, parse, unique
from tests.servers.kafka import Kafka

IDLE = 20  # seconds without a message after which it ends, and its count is found to be wrong


class _Insert(BatchingSink):
    def __init__(self, sink: str) -> None:
        super().__init__()
        self._sink = sink

    def write(self, batch: SinkBatch) -> None:
        insert(self._sink, [item.value for item in batch])


def _is_first(value: bytes, state: State) -> bool:  # noqa: ARG001
    if state.exists("seen"):
        return False
    state.set("seen", True)
    return True


def _row(value: bytes) -> EventRow:
    return parse(value)[1]


def _fill(topic: str, bootstrap: str, files: list[str]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "compression.type": "lz4", "batch.size": 1_000_000})
    for line in lines(files):
        _produce(producer, topic, line)
    producer.flush()


def _produce(producer: Producer, topic: str, line: bytes) -> None:
    while True:
        try:
            producer.produce(topic, line, identify(line))
            return
        except BufferError:
            producer.poll(0.1)


def _application(topic: str, bootstrap: str, sink: str, folder: str) -> Application:
    app = Application(
        bootstrap,
        auto_offset_reset="earliest",
        commit_every=AT_ONCE,
        commit_interval=60,
        state_dir=folder,
        use_changelog_topics=False,
        loglevel="ERROR",
    )
    events = app.dataframe(app.topic(topic, key_deserializer="bytes", value_deserializer="bytes"))
    events.filter(_is_first, stateful=True).apply(_row).sink(_Insert(sink))
    return app


def _kafka(folder: Path) -> Kafka:
    try:
        return Kafka(folder)
    except (RuntimeError, OSError) as error:
        raise Unavailable(f"no Kafka: {error}") from error


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    sink = warm_up(f"{folder}/db")
    with _kafka(Path(folder, "kafka")) as kafka:
        topic = kafka.new_topic(partitions=1)
        _fill(topic, kafka.bootstrap, load.files)
        app, outputs = _application(topic, kafka.bootstrap, sink, f"{folder}/state"), unique(load.files)
        yield Job(lambda: app.run(count=outputs, timeout=IDLE, collect=False), lambda: stored(sink))
