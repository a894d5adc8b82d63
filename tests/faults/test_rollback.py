"""A runner that goes back to an older state, as Flink does after a failure, while the tables and the broker are ahead.

Flink itself is not here: the real steps, a real broker and real tables are run bundle by bundle, with the runner's state kept by the test.
"""

import random
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from pipelines.audit import audit
from schemas.event import Batch
from schemas.outcomes import Report
from tests.faults.streams import PARTITIONS, Count, KafkaTopic, Load
from tests.servers.kafka import Kafka
from tests.transforms.state_fakes import FakeState
from transforms.dedupe.shards import split
from transforms.io.clickhouse import close_all, shared
from transforms.io.kafka.source import topic_splits
from transforms.io.registry import registry_source
from transforms.io.streams import fetcher
from transforms.io.streams.fetcher import Limits, Mark
from transforms.io.streams.source import close_fetchers, fetcher_of
from transforms.limits import transform as limits
from transforms.parse.rules import parse_messages
from transforms.persons import apply_person_properties, resolve_persons
from transforms.persons.shards import split_by_id, split_by_person
from transforms.receipts import Ledger, acknowledge
from transforms.receipts.open import report_of
from transforms.runs import new_run
from transforms.sink import store_unique

SHARDS = 4
STEPS = {"resolve": 2, "apply": 2, "store": 8, "acknowledge": 1}  # with so many logs


class Runner:
    """The graph of a stream, and its state. Everything that a real runner would restore is in `state`."""

    def __init__(self, topic: KafkaTopic, sink: str, teams: str) -> None:
        self._sink = sink
        self._run = str(new_run(1_795_500_000_000_000))
        self._registry = registry_source(teams)
        self._splits = topic_splits(topic.source, sink, self._run, Limits(messages=100, linger=0.02, in_flight=0), 2)
        self.state: dict[str, list[FakeState]] = {name: [FakeState(logs) for _ in range(SHARDS)] for name, logs in STEPS.items()}
        self.marks = [Mark() for _ in self._splits]
        self.start()

    def start(self) -> None:
        """Make new DoFns, as a runner does when it starts a job or goes back."""
        options = (self._sink, self._run, SHARDS, True)
        self._ledger = Ledger(self._sink, self._run)
        self._limit = limits._EnforceLimitsFn(limits.EnforceLimits(self._registry, self._sink, self._run))
        self._resolve = resolve_persons._ResolvePersonsFn(resolve_persons.ResolvePersons(*options))
        self._apply = apply_person_properties._ApplyPersonPropertiesFn(apply_person_properties.ApplyPersonProperties(*options))
        self._store = store_unique._StoreUniqueFn(store_unique.StoreUnique(*options))
        self._acknowledge = acknowledge._AcknowledgeFn(self._ledger)
        for step in (self._resolve, self._apply, self._store):
            step.setup()

    def new_process(self) -> None:
        """Forget what the process knew."""
        close_fetchers()
        for cached in (resolve_persons._shards, apply_person_properties._shards, store_unique._filter, acknowledge._indexes):
            cached.cache_clear()
        self.start()

    def snapshot(self) -> tuple[Any, ...]:
        return {name: [state.copy() for state in states] for name, states in self.state.items()}, list(self.marks)

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        states, marks = snapshot
        self.state = {name: [state.copy() for state in each] for name, each in states.items()}
        self.marks = list(marks)
        self.start()

    def bundle(self, number: int, fails: str = "") -> int:
        """Read what a split has and bring it through all steps; return how many receipts that was.

        Args:
            fails: after which step the bundle fails: `store` or `acknowledge`. Its state is then that from before.
        """
        before = self.snapshot()
        read = []
        while len(read) < 3 and (found := fetcher_of(self._splits[number]).poll(self.marks[number])) is not None:
            messages, self.marks[number] = found
            read.append(messages)
        reports: list[Report] = []
        batches = []
        for messages in read:
            self._ledger.open_stream(messages)
            batch, report = parse_messages(messages, self._registry.current())
            reports += [report_of(messages), report]
            batches += self._limit.process(batch)
        batches = list(self._through(self._resolve, "resolve", split_by_id, batches))
        batches = list(self._through(self._apply, "apply", split_by_person, batches))
        self._store.start_bundle()
        reports += self._through(self._store, "store", split, batches)
        reports += [one.value for one in self._store.finish_bundle()]
        if fails != "store":
            self._acknowledge.start_bundle()
            for report in reports:
                shard = report.receipt % SHARDS
                state = self.state["acknowledge"][shard]
                self._acknowledge.process((shard, report), state.head, *state.logs)
            self._acknowledge.finish_bundle()
        if fails:
            self.restore(before)
        return len(read)

    def _through(self, step: Any, name: str, split_up: Any, batches: list[Batch]) -> Iterator[Any]:
        for batch in batches:
            for shard, part in split_up(batch, SHARDS):
                state = self.state[name][shard]
                yield from step.process((shard, part), state.head, *state.logs)


@pytest.fixture
def sink(sink: str) -> Iterator[str]:
    yield sink
    close_fetchers()
    close_all()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return by how many nanoseconds this process's clock is off; it may be changed at any time. ClickHouse's clock is right."""
    off = [0]
    for module in (resolve_persons, apply_person_properties, fetcher):
        monkeypatch.setattr(module, "time_ns", lambda: time.time_ns() + off[0])
    return off


HOUR, DAY = 3_600_000_000_000, 86_400_000_000_000  # nanoseconds


@pytest.mark.parametrize("jumps", [(0,), (-DAY, -HOUR, 0, HOUR, DAY)], ids=["a steady clock", "a clock that jumps"])
@pytest.mark.parametrize("seed", range(3))
def test_an_older_state_loses_nothing_and_doubles_nothing(
    seed: int, jumps: tuple[int, ...], clock: list[int], kafka: Kafka, sink: str, tmp_path: Path
) -> None:
    rng = random.Random(f"rollback-{seed}")
    load, topic = Load(tmp_path, 6_000, seed), KafkaTopic(kafka)
    messages = [line for file in sorted(load.folder.glob("events-*")) for line in file.read_bytes().splitlines()]
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 0, "message.max.bytes": 30_000_000})
    runner = Runner(topic, sink, load.teams)
    checkpoint = runner.snapshot()
    sent, went_back = 0, 0
    deadline = time.monotonic() + 120  # how many turns it takes depends on how soon the broker answers
    for turn in count():
        for message in messages[sent : sent + 300]:
            producer.produce(topic.to.rpartition("/")[2], message, partition=rng.randrange(PARTITIONS))
        producer.flush(30)
        sent += 300
        clock[0] = rng.choice(jumps)
        read = runner.bundle(turn % 2, fails=rng.choice(["", "", "", "", "store", "acknowledge"]))
        match rng.randrange(8):
            case 0:
                checkpoint = runner.snapshot()
            case 1 if sent < len(messages):
                runner.restore(checkpoint)
                went_back += 1
            case 2 if sent < len(messages):
                runner.new_process()
                runner.restore(checkpoint)
                went_back += 1
        if sent >= len(messages) and not read and topic.unacknowledged() == 0:
            break
        assert time.monotonic() < deadline, f"{topic.unacknowledged()} messages are not acknowledged"
    assert went_back > 0
    Count(sink, load).assert_right()
    assert audit(shared(sink)).balanced
