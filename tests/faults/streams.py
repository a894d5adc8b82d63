"""A stream as its operator runs it: `sluice ingest` as processes to be killed, a broker, a ClickHouse; and the count at the end."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

import clickhouse_driver
from google.api_core.exceptions import DeadlineExceeded
from google.cloud.pubsub_v1 import SubscriberClient

from pipelines.audit import Audit, audit
from pipelines.compact import Summary, compact
from pipelines.generate import Plan, generate, yesterday
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until
from tests.servers.pubsub import PROJECT, PubSub
from transforms.io.clickhouse import connect
from transforms.io.migrate import migrate

SLUICE = str(Path(sys.executable).with_name("sluice"))
PARTITIONS = 4


class Broker(Protocol):
    """A topic and its reader."""

    source: str
    to: str

    def unacknowledged(self) -> int:
        """Return how many messages are not acknowledged, as the broker sees it."""


class KafkaTopic:
    def __init__(self, server: Kafka) -> None:
        self._server = server
        self._topic = server.new_topic(PARTITIONS)
        self.source = server.url(self._topic)
        self.to = f"kafka://{server.bootstrap}/{self._topic}"

    def done(self) -> int:
        """Return how many messages are acknowledged."""
        return sum(max(0, offset) for offset in self._server.committed(self._topic, PARTITIONS))

    def unacknowledged(self) -> int:
        done, ends = self._server.committed(self._topic, PARTITIONS), self._server.ends(self._topic, PARTITIONS)
        return sum(end - max(0, offset) for end, offset in zip(ends, done, strict=True))


class PubSubTopic:
    def __init__(self, server: PubSub) -> None:
        self._name = server.new_subscription()
        self.source = self.to = server.url(self._name)

    def unacknowledged(self) -> int:
        """Return how many messages are delivered now: 0 does not mean that none is leased."""
        subscription = f"projects/{PROJECT}/subscriptions/{self._name}"
        with SubscriberClient() as client:
            try:
                found = client.pull({"subscription": subscription, "max_messages": 1000}, timeout=1.0, retry=None).received_messages
            except DeadlineExceeded:
                return 0
            ids = [one.ack_id for one in found]
            if ids:
                client.modify_ack_deadline({"subscription": subscription, "ack_ids": ids, "ack_deadline_seconds": 0})
        return len(ids)


class Load:
    """Generated events, and what must be stored of them. No team has a quota: which events are over it depends on their order."""

    def __init__(self, folder: Path, events: int, seed: int, duplicates: float = 0.05, invalid: float = 0.001) -> None:
        self.folder = folder / "load"
        truth = folder / "truth.jsonl"
        summary = generate(
            Plan(
                events=events,
                out=str(self.folder),
                seed=seed,
                duplicates=duplicates,
                quota=0,
                truth=str(truth),
                invalid=invalid,
                start=yesterday(),
            )
        )
        self.teams = str(self.folder / "teams.toml")
        self.messages = summary.messages
        self.expected = set()
        self.made = 0  # events that get their uuid from us
        self.rejected = 0
        for line in truth.read_text().splitlines()[1:]:  # the first one sums up
            row = json.loads(line)
            if row["outcome"] == "stored" and row["uuid"]:
                self.expected.add((row["team_id"], UUID(row["uuid"])))
            self.made += row["outcome"] == "stored" and not row["uuid"]
            self.rejected += row["outcome"] == "rejected"


class Stream:
    """`sluice ingest` from a broker into a server, started again whenever it is gone."""

    def __init__(
        self, broker: Broker, sink: str, teams: str, folder: Path, *options: str, shown: bool = False, sluice: Sequence[str] = (SLUICE,)
    ) -> None:
        self._command = [*sluice, "ingest", "--source", broker.source, "--sink", sink, "--teams", teams, *options]
        self._log = None if shown else (folder / "ingest.log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=self._log, stderr=self._log, start_new_session=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def children(self) -> dict[str, int]:
        """Return the processes that are there now: supervisor, worker, runner."""
        found = {"supervisor": self.pid}
        for name, parent in (("worker", self.pid), ("runner", None)):
            parent = found.get("worker") if parent is None else parent
            if parent is None:
                continue
            try:
                text = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            except FileNotFoundError:
                continue
            if text:
                found[name] = int(text[0])
        return found

    def kill(self, name: str) -> bool:
        """Kill a process as `kill -9` does; start the stream again if it was its head. Return whether it was there."""
        number = self.children().get(name)
        if number is None:
            return False
        os.kill(number, signal.SIGKILL)
        if name == "supervisor":
            assert self._process is not None
            self._process.wait()
            self.start()
        return True

    def stop(self, timeout: float = 60) -> int:
        """Stop it in order; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout)

    def destroy(self) -> None:
        """Leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        if self._log is not None:
            self._log.close()


class Count:
    """What is in the tables at the end."""

    def __init__(self, url: str, load: Load) -> None:
        client = connect(url)
        found = [(team, uuid) for team, uuid in client.rows("SELECT team_id, uuid FROM events")]
        unique = client.rows("SELECT team_id, uuid FROM events_unique")
        self.rows = len(found)
        self.doubled = len(found) - len(set(found))
        self.shown_twice = len(unique) - len(set(unique))
        made = len(set(found) - load.expected) - load.made
        self.lost = len(load.expected - set(found)) + max(0, -made)
        self.unexpected = max(0, made)
        self.audit: Audit = audit(client)
        client.close()

    def row(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "doubled": self.doubled,
            "shown twice": self.shown_twice,
            "lost": self.lost,
            "audit": "balanced" if self.audit.balanced else [str(one) for one in self.audit.differences[:5]],
        }

    def assert_right(self) -> None:
        assert (self.lost, self.unexpected, self.shown_twice) == (0, 0, 0), self.row()
        assert self.audit.balanced, self.row()


def stored(engine: ClickHouseEngine, url: str) -> int:
    """Return how many rows there are, by a connection of its own."""
    try:
        with clickhouse_driver.Client.from_url(url) as client:
            return int(client.execute("SELECT count() FROM events")[0][0])
    except (clickhouse_driver.errors.Error, EOFError, OSError):
        return -1


def new_tables(engine: ClickHouseEngine) -> str:
    """Return the URL of a new database with tables."""
    url = engine.url(engine.new_database())
    client = connect(url)
    migrate(client)
    client.close()
    return url


def compact_tables(sink: str) -> Summary:
    """Run `sluice compact`; return what it did."""
    client = connect(sink)
    found = compact(client)
    client.close()
    return found


def chaos(
    broker: Broker,
    engine: ClickHouseEngine,
    folder: Path,
    events: int,
    kills: int,
    seed: int,
    rate: float = 3_000,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Send events while processes are killed at random moments; return the count.

    Args:
        seed: of the load, and of who is killed when.
        rate: messages a second that are sent.
    """
    rng = random.Random(seed)
    load = Load(folder, events, seed)
    sink = new_tables(engine)
    stream = Stream(broker, sink, load.teams, folder)
    recoveries: list[float] = []
    try:
        command = [SLUICE, "produce", "--from", str(load.folder), "--rate", str(rate), "--to", broker.to, "--json"]
        producer = subprocess.Popen(command, stdout=subprocess.DEVNULL)

        wait_until(lambda: stored(engine, sink) > 0, 60, "the first row")
        for _ in range(kills):
            time.sleep(rng.uniform(0.2, events / rate / kills))
            name = rng.choice(["worker", "worker", "runner", "supervisor"])
            if not stream.kill(name):
                continue
            recoveries.append(_recovery(broker, engine, sink, producer))
            say(f"killed the {name}: back after {recoveries[-1]:.1f} s")
        producer.wait(300)
        wait_until(lambda: stored(engine, sink) >= len(load.expected) + load.made, 180, "all rows")
        wait_until(lambda: broker.unacknowledged() == 0, 120, "all acknowledgements")
        wait_until(lambda: "worker" in stream.children(), 60, "a supervisor that can be asked to stop")
        code = stream.stop()
    finally:
        stream.destroy()
    count = Count(sink, load)
    count.assert_right()
    assert code == 0
    compact_tables(sink)
    compacted = Count(sink, load)
    compacted.assert_right()
    return {
        "what happens": f"{broker.source.partition(':')[0]}: {len(recoveries)} kills at random",
        "sent": load.messages,
        "stored": count.rows - count.doubled,
        "doubled": count.doubled,
        "after compact": compacted.doubled,
        "lost": count.lost,
        "seconds to recover": f"{max(recoveries, default=0):.1f}",
    }


def _recovery(broker: Broker, engine: ClickHouseEngine, sink: str, producer: "subprocess.Popen[bytes]") -> float:
    """Return the seconds until more rows are stored, or none are left."""
    began = time.monotonic()
    time.sleep(1.0)  # what was on its way to the server when the process died is stored by then
    before = stored(engine, sink)
    wait_until(lambda: stored(engine, sink) > before or not _waits(broker, producer), 90, "recovery from a kill")
    return time.monotonic() - began


def _waits(broker: Broker, producer: "subprocess.Popen[bytes]") -> bool:
    """Return whether there is anything left to store."""
    return producer.poll() is None or broker.unacknowledged() > 0
