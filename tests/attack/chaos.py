"""`make chaos SEED=... SECONDS=... SINK=server|embedded`: work and faults at random, while an oracle knows what must come of it.

The seed gives the messages, and which faults and jobs come after which waits; how they meet is the machine's. All is real: broker, engine,
command line. On a server jobs run side by side, faults come from all sides, and `events_unique` is looked at all the time. An embedded
database has one process at a time: files in small runs, a stream and jobs take turns, each may be killed, and it is looked at in between.
"""

import argparse
import gzip
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import clickhouse_driver
from confluent_kafka import Producer

from runners.cli import main as sluice
from tests.attack.oracle import MARK, Id, Oracle
from tests.faults.streams import SLUICE, KafkaTopic, Stream
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import wait_until

logging.getLogger("clickhouse_driver.connection").setLevel(logging.CRITICAL)  # that the engine is gone is no news here
RATE = 120.0  # messages a second
UPKEEP = [["compact"], ["compact", "--full"], ["squash"], ["audit", "--json"], ["replay"], ["doctor"]]
if "retain" in sluice.commands:
    UPKEEP.append(["retain", "--months", "120"])
# Of what happens on a server, how often beside the others.
ON_SERVER = {"worker": 5, "supervisor": 2, "runner": 3, "engine": 4, "broker": 1, "stop": 4, "second": 2, "backfill": 4, "upkeep": 6}
EMBEDDED_SECONDS = 6.0  # that a step takes, about
EMBEDDED = {"files": 5, "stream": 3, "upkeep": 3}
Step = tuple[float, str, float]
"""Seconds to wait, what happens, and a number from 0 to 1 that says how."""


def plan(seed: int, seconds: float, what: dict[str, int], pause: float) -> list[Step]:
    """Return what happens: the same for a seed."""
    rng, steps, total = random.Random(f"plan {seed}"), [], 0.0
    while (wait := rng.uniform(0.2, pause)) + total < seconds:
        steps.append((wait, rng.choices(list(what), list(what.values()))[0], rng.random()))
        total += wait
    return steps


class Tables:
    """What is in the tables, by a reader of its own. Of an embedded database: while no job is at work."""

    def __init__(self, sink: str) -> None:
        self._sink = sink

    def rows(self, sql: str) -> list[list[str]]:
        """Return a query's rows as texts."""
        if self._sink.startswith("chdb:"):
            return self._embedded(sql)
        with clickhouse_driver.Client.from_url(self._sink) as client:
            return [[str(value) for value in row] for row in client.execute(sql)]

    def folders(self) -> list[Path]:
        """Return where the parts of two tables are that one insert writes, one after the other."""
        of = "WHERE database = currentDatabase() AND name IN ('events', 'event_ids')"
        return [Path(row[0]) for row in self.rows(f"SELECT arrayJoin(data_paths) FROM system.tables {of}")]

    def _embedded(self, sql: str) -> list[list[str]]:
        command = [SLUICE, "query", "--sink", self._sink, "--format", "JSONCompactEachRow", sql]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return [[str(value) for value in json.loads(line)] for line in done.stdout.splitlines()]


class Watch:
    """Looks at `events_unique`: an id must be there once, and never go."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._seen: set[Id] = set()
        self.looks = self.twice = self.vanished = 0

    def look(self) -> None:
        with suppress(clickhouse_driver.errors.Error, EOFError, OSError, subprocess.SubprocessError):
            found = Counter((int(team), uuid) for team, uuid in self._tables.rows("SELECT team_id, toString(uuid) FROM events_unique"))
            self.looks += 1
            self.twice += sum(count > 1 for count in found.values())
            self.vanished += len(self._seen - found.keys())
            self._seen |= found.keys()

    @contextmanager
    def all_the_time(self, seconds: float = 0.7) -> Iterator[None]:
        stop = threading.Event()

        def work() -> None:
            while not stop.wait(seconds):
                self.look()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class Jobs:
    """Commands beside the stream, each of which may be killed; those of files are run again until they are done."""

    def __init__(self, folder: Path, sink: str, oracle: Oracle) -> None:
        self._folder, self._sink, self._oracle = folder, sink, oracle
        self._log = (folder / "jobs.log").open("ab")
        self._running: list[tuple[subprocess.Popen[bytes], float, list[str]]] = []
        self.todo: list[list[str]] = []  # ingests of files that have not come to their end
        self.counts: Counter[str] = Counter()
        self.teams = folder / "teams.toml"

    def new_files(self, messages: int) -> None:
        path = self._folder / f"files-{self._oracle.messages}" / "events.jsonl"
        path.parent.mkdir()
        path.write_bytes(b"".join(self._oracle.lines(messages)))
        self.todo.append(["ingest", "--source", str(path), "--teams", str(self.teams), "--range_bytes", "50000"])

    def start(self, command: list[str], lives: float = 0.0) -> "subprocess.Popen[bytes]":
        """Start a command that is killed after so many seconds, if not 0."""
        self.counts[command[0]] += 1
        teams = ["--teams", str(self.teams)] if command[0] == "replay" else []
        whole = [SLUICE, *command, *teams, "--sink", self._sink]
        process = subprocess.Popen(whole, stdout=self._log, stderr=self._log, start_new_session=True)
        self._running.append((process, time.monotonic() + lives if lives else 0.0, command))
        return process

    def tend(self) -> None:
        """Kill those whose time has come, and take notice of those that ended."""
        for process, until, command in list(self._running):
            if process.poll() is None and until and time.monotonic() > until:
                process.kill()
                process.wait()
                self.counts["killed jobs"] += 1
            if process.poll() is not None:
                self._running.remove((process, until, command))
                if process.returncode != 0 and command[0] == "ingest":
                    self.todo.append(command)

    def wait(self, timeout: float = 120) -> None:
        wait_until(lambda: self.tend() or not self._running, timeout, "the end of all jobs")  # type: ignore[func-returns-value]

    def to_the_end(self, command: list[str]) -> int:
        """Run a command until it is done; return its exit code."""
        code = self.start(command).wait(180)
        self.tend()
        return code

    def destroy(self) -> None:
        for process, _, _ in self._running:
            process.kill()
            process.wait()
        self._log.close()


def count(oracle: Oracle, tables: Tables, watch: Watch) -> dict[str, int]:
    """Return how many of what was sent came out wrong, by the kind of wrong; all should be 0."""
    ids = [(int(team), uuid) for team, uuid in tables.rows("SELECT team_id, toString(uuid) FROM events")]
    shown = [(int(team), uuid) for team, uuid in tables.rows("SELECT team_id, toString(uuid) FROM events_unique")]
    expected = oracle.expected | oracle.late
    bodies = [_inflated(bytes.fromhex(row[0])) for row in tables.rows("SELECT hex(body) FROM dead_letters")]
    marks = {mark for body in bodies for mark in MARK.findall(body)}
    good = [body for body in bodies if not MARK.search(body) and b"phc_late" not in body]
    return {
        "lost": len(expected - set(shown)),
        "made up": len(set(ids) - expected),
        "doubled after compact": len(ids) - len(set(ids)),
        "shown twice at the end": len(shown) - len(set(shown)),
        "shown twice at a look": watch.twice,
        "vanished at a look": watch.vanished,
        "rubbish without a letter": len(oracle.rubbish - marks),
        "letters that are no rubbish": len(good),
        **_count_persons(oracle, tables),
    }


def _count_persons(oracle: Oracle, tables: Tables) -> dict[str, int]:
    owner = {(int(team), name): person for team, name, person in tables.rows(
        "SELECT team_id, distinct_id, toString(person_id) FROM person_distinct_ids")}  # fmt: skip
    properties = {(int(team), person): json.loads(text) for team, person, text in tables.rows(
        "SELECT team_id, toString(id), properties FROM persons")}  # fmt: skip
    apart = [who for who, user in oracle.merged.items() if owner.get(who) is None or owner[who] != owner.get((who[0], user))]
    stale = [
        (team, user) for (team, user), number in oracle.latest.items()
        if properties.get((team, owner.get((team, user), "")), {}).get("n") != number
    ]  # fmt: skip
    users = {(team, user) for team, user in owner if user.startswith("user-")}
    return {
        "not merged": len(apart),
        "wrong properties": len(stale),
        "users in one": len(users) - len({(u[0], owner[u]) for u in users}),
    }


class Campaign:
    """One campaign: sends, harms, heals, and counts."""

    def __init__(self, folder: Path, seed: int, seconds: float, rate: float, say: Callable[[str], None]) -> None:
        self.folder, self.seed, self.seconds, self.rate, self.say = folder, seed, seconds, rate, say
        self.oracle = Oracle(seed)
        self.kafka = Kafka(folder / "kafka")
        self.kafka.start()
        self.topic = KafkaTopic(self.kafka)
        self.faults: Counter[str] = Counter()
        self._producer = Producer(
            {"bootstrap.servers": self.kafka.bootstrap, "message.timeout.ms": 600_000, "linger.ms": 20, "log_level": 0}
        )

    def begin(self, sink: str) -> None:
        self.sink, self.tables = sink, Tables(sink)
        self.jobs, self.watch = Jobs(self.folder, sink, self.oracle), Watch(Tables(sink))
        self.oracle.write_teams(self.jobs.teams, late=False)
        assert self.jobs.to_the_end(["migrate"]) == 0

    def stream(self) -> Stream:
        return Stream(self.topic, self.sink, str(self.jobs.teams), self.folder)

    def send(self, seconds: float) -> None:
        """Send messages for so long, at the rate."""
        until, sent, began = time.monotonic() + seconds, 0, time.monotonic()
        while (now := time.monotonic()) < until:
            self.jobs.tend()
            while sent < (now - began) * self.rate:
                self._producer.produce(self.topic.to.rpartition("/")[2], self.oracle.message())
                sent += 1
            self._producer.poll(0)
            time.sleep(0.01)

    def sent_all(self) -> None:
        assert self._producer.flush(120) == 0

    def close(self) -> None:
        self.kafka.stop()

    def finish(self) -> dict[str, Any]:
        """Bring all to its end, and count."""
        for _ in range(5):
            todo, self.jobs.todo = self.jobs.todo, []
            for command in todo:
                self.jobs.to_the_end(command)
        assert not self.jobs.todo, "files that cannot be ingested"
        self.oracle.write_teams(self.jobs.teams, late=True)
        codes = {name: self.jobs.to_the_end(command) for name, command in (
            ("replay", ["replay", "--reason", "unknown_token"]), ("compact", ["compact", "--full"]), ("squash", ["squash"]))}  # fmt: skip
        assert codes == dict.fromkeys(codes, 0), codes
        self.watch.look()
        command = [SLUICE, "audit", "--sink", self.sink, "--grace", "0", "--json"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        audit = json.loads(told.stdout.splitlines()[-1]) if told.stdout else {"balanced": False, "differences": [told.stderr[-500:]]}
        return {
            **count(self.oracle, self.tables, self.watch),
            "not at the end of the topic": self.topic.unacknowledged(),
            "audit": "balanced" if audit["balanced"] else audit["differences"][:5],
            "seed": self.seed,
            "messages": self.oracle.messages,
            "ids": len(self.oracle.expected | self.oracle.late),
            "duplicates": self.oracle.duplicates,
            "rubbish": len(self.oracle.rubbish),
            "looks": self.watch.looks,
            "faults": dict(self.faults),
            "jobs": dict(self.jobs.counts),
        }


class OnServer(Campaign):
    """A stream into the engine behind the native protocol, jobs beside it, and faults of everything."""

    def run(self) -> dict[str, Any]:
        self.engine = ClickHouseEngine(self.folder / "engine")
        self.engine.start()
        streams: list[Stream] = []
        try:
            self.begin(self.engine.url(self.engine.new_database()))
            self.data = self.tables.folders()
            streams.append(self.stream())
            with self.watch.all_the_time():
                for wait, what, how in plan(self.seed, self.seconds, ON_SERVER, pause=3.5):
                    self.send(wait)
                    self.say(f"{what} {how:.2f}")
                    self.faults[what] += 1
                    self._do(what, how, streams)
                self.heal(streams)
            return self.finish()
        finally:
            for stream in streams:
                stream.destroy()
            if hasattr(self, "jobs"):
                self.jobs.destroy()
            self.engine.stop()

    def _do(self, what: str, how: float, streams: list[Stream]) -> None:
        first = streams[0]
        if what in ("worker", "supervisor", "runner"):
            first.kill(what)
        elif what == "engine":
            if how < 0.5:
                _wait_for_a_rename(self.data, 1 + int(how * 12))
            self.engine.kill()
            self.send(2 * how)
            self.engine.start()
        elif what == "broker":
            self.kafka.kill()
            self.kafka.start()
        elif what == "stop":
            self._stop_for(how, first)
        elif what == "second" and len(streams) == 1:
            streams.append(self.stream())
        elif what == "second":
            streams.pop().destroy()
        elif what == "backfill":
            self.jobs.new_files(int(100 + 900 * how))
            self.jobs.start(self.jobs.todo.pop(), lives=0.0 if how < 0.5 else 8 * how)
        else:
            self.jobs.start(UPKEEP[int(how * len(UPKEEP))], lives=0.0 if how * 100 % 1 < 0.7 else 2.0)

    def _stop_for(self, how: float, stream: Stream) -> None:
        """Let a process stand still for a while."""
        found = [*stream.children().values(), self.engine._process.pid, self.kafka._process.pid]  # type: ignore[union-attr]
        pid = found[int(how * len(found))]
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            try:
                self.send(1 + 4 * how)
            finally:
                os.kill(pid, signal.SIGCONT)

    def heal(self, streams: list[Stream]) -> None:
        """Let all come to its end."""
        while len(streams) > 1:
            streams.pop().destroy()
        self.sent_all()
        self.jobs.wait()
        wait_until(lambda: self.topic.unacknowledged() == 0, 180, "all acknowledgements")
        wait_until(lambda: "runner" in streams[0].children(), 90, "a stream that can be asked to stop")
        assert streams[0].stop(90) == 0, "the stream refused, or failed"


class Embedded(Campaign):
    """Files in many small runs, a stream, and jobs, one after the other, each of which may be killed."""

    def run(self) -> dict[str, Any]:
        try:
            self.begin(f"chdb:{self.folder / 'db'}")
            self.data = self.tables.folders()
            for _, what, how in plan(self.seed, 100 * self.seconds, EMBEDDED, pause=3.0)[: max(4, int(self.seconds / EMBEDDED_SECONDS))]:
                self.say(f"{what} {how:.2f}")
                self.faults[what] += 1
                {"files": self._files, "stream": self._stream, "upkeep": self._upkeep}[what](how)
                self.watch.look()
            self._stream(0.0)
            return self.finish()
        finally:
            if hasattr(self, "jobs"):
                self.jobs.destroy()

    def _files(self, how: float) -> None:
        self.jobs.new_files(int(100 + 1500 * how))
        process = self.jobs.start(self.jobs.todo.pop())
        self._perhaps_kill(how, process.pid, lambda: process.poll() is None)
        self.jobs.wait()

    def _upkeep(self, how: float) -> None:
        self.jobs.start(UPKEEP[int(how * len(UPKEEP))], lives=0.0 if how * 100 % 1 < 0.7 else 1.5)
        self.jobs.wait()

    def _stream(self, how: float) -> None:
        """Send for some seconds while a stream reads, and is killed meanwhile unless `how` is 0; then to its end."""
        stream = self.stream()
        try:
            self.send(4.0 if how else 1.0)
            if how:
                target = ("worker", "worker", "runner", "supervisor")[int(how * 4)]
                self._perhaps_kill(how, 0, lambda: True, lambda: stream.kill(target))
                self.send(2.0)
            self.sent_all()
            wait_until(lambda: self.topic.unacknowledged() == 0, 120, "all acknowledgements")
            wait_until(lambda: "runner" in stream.children(), 90, "a stream that can be asked to stop")
            assert stream.stop(90) == 0, "the stream refused, or failed"
        finally:
            stream.destroy()

    def _perhaps_kill(self, how: float, pid: int, lives: Callable[[], bool], kill: Callable[[], object] | None = None) -> None:
        if how < 0.25:
            return
        _wait_for_a_rename(self.data, 1 + int(how * 16), lives)
        if lives():
            self.faults["kills after a rename"] += 1
            (kill or (lambda: os.kill(pid, signal.SIGKILL)))()


def _inflated(body: bytes) -> bytes:
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def _wait_for_a_rename(folders: list[Path], times: int, lives: Callable[[], bool] = lambda: True, seconds: float = 6.0) -> None:
    """Return as soon as so many parts were made, or renamed, in the folders: between two steps of an insert."""
    until = time.monotonic() + seconds
    before = [_changed(folder) for folder in folders]
    while times and time.monotonic() < until and lives():
        now = [_changed(folder) for folder in folders]
        times -= now != before
        before = now
        time.sleep(0.0002)


def _changed(folder: Path) -> int:
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


ZERO = (
    "lost", "made up", "doubled after compact", "shown twice at the end", "shown twice at a look", "vanished at a look",
    "rubbish without a letter", "letters that are no rubbish", "not at the end of the topic",
    "not merged", "wrong properties", "users in one",
)  # fmt: skip


def wrong(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is not as it must be."""
    return {name: found[name] for name in ZERO if found[name]} | ({} if found["audit"] == "balanced" else {"audit": found["audit"]})


def campaign(sink: str, folder: Path, seed: int, seconds: float, rate: float = RATE, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Run a campaign; return its count."""
    one = (OnServer if sink == "server" else Embedded)(folder, seed, seconds, rate, say)
    try:
        return one.run()
    finally:
        one.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--sink", choices=["server", "embedded"], default="server")
    parser.add_argument("--rate", type=float, default=RATE, help="messages a second")
    parser.add_argument("--keep", type=Path, help="an empty folder for data and logs, to look at afterwards")
    asked = parser.parse_args()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sluice-chaos-") as name:
        folder = asked.keep or Path(name)
        found = campaign(asked.sink, folder, asked.seed, asked.seconds, asked.rate, lambda text: print(text, file=sys.stderr, flush=True))
    for key, value in found.items():
        print(f"{key:>28}  {value:,}" if isinstance(value, int) else f"{key:>28}  {value}")
    print(json.dumps({**found, "wrong": wrong(found)}))
    sys.exit(bool(wrong(found)))


if __name__ == "__main__":
    main()
