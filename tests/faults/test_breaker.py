"""A fault of our own rejects what was accepted before: the job stops and lag grows. One customer's rubbish stops nothing."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread

import pytest

from pipelines.produce import messages_of, open_topic, produce
from tests.faults.streams import Count, KafkaTopic, Load, Stream, new_tables
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.kafka import Kafka
from tests.servers.process import free_port, wait_until
from transforms.io.clickhouse import connect

RATE = 600
LEAK = 1_000  # letters until it opens: it knows this stream's usual traffic by some seconds only


class Scene:
    """A stream of many teams, whose registry can be changed under it."""

    def __init__(self, kafka: Kafka, engine: ClickHouseEngine, folder: Path, events: int) -> None:
        self.load = Load(folder, events, seed=11)
        self._teams = Path(self.load.teams)
        self.payloads = list(messages_of((str(self.load.folder),)))
        self.good = self._teams.read_text()
        self.sink = new_tables(engine)
        self.topic = KafkaTopic(kafka)
        self._port = free_port()
        self.stream = Stream(self.topic, self.sink, self.load.teams, folder, "--health-port", str(self._port))
        self.log = folder / "ingest.log"
        self._sending: Thread | None = None

    def produce(self, payloads: Sequence[bytes]) -> None:
        """Send messages at a steady rate, and let it go on meanwhile."""
        self._sending = Thread(target=produce, args=(payloads, open_topic(self.topic.to), RATE), daemon=True)
        self._sending.start()

    def send(self, payloads: Sequence[bytes]) -> None:
        """Send messages at once, and wait until they are dealt with."""
        produce(payloads, open_topic(self.topic.to), rate=4_000)
        wait_until(lambda: self.topic.unacknowledged() == 0, 90, "all acknowledgements")

    def replace_registry(self, text: str) -> None:
        fresh = self._teams.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self._teams)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def restarts(self) -> int:
        return self.log.read_text().count("the worker ended with code 1")

    def letters(self, reason: str) -> int:
        client = connect(self.sink)
        ((count,),) = client.rows(f"SELECT count() FROM dead_letters FINAL WHERE reason = '{reason}'")
        client.close()
        return int(count)

    def wait_for_producer(self) -> None:
        if self._sending is not None:
            self._sending.join(120)
            assert not self._sending.is_alive()

    def finish(self) -> Count:
        """Wait until all is acknowledged; stop, and count."""
        self.wait_for_producer()
        wait_until(lambda: self.topic.unacknowledged() == 0, 120, "all acknowledgements")
        assert self.stream.stop() == 0
        return Count(self.sink, self.load)

    def close(self) -> None:
        self.stream.destroy()
        self.wait_for_producer()


@pytest.fixture
def scene(kafka: Kafka, engine: ClickHouseEngine, tmp_path: Path) -> Iterator[Scene]:
    found = Scene(kafka, engine, tmp_path, events=18_000)
    yield found
    found.close()


def without_most_teams(registry: str) -> str:
    """Return a registry in which two of many teams are left."""
    head, *teams = re.split(r"(?m)^(?=\[\[teams\]\])", registry)
    return head + "".join(teams[4:6])


@pytest.mark.timeout(300)
def test_a_registry_without_most_tokens_stops_the_job_until_it_is_mended(scene: Scene) -> None:
    scene.send(scene.payloads[:6_000])
    usual = scene.letters("unknown_token")
    scene.replace_registry(without_most_teams(scene.good))
    scene.produce(scene.payloads[6_000:])
    wait_until(lambda: scene.get("/readyz")[1].startswith("breaker open: "), 90, "the breaker")
    code, text = scene.get("/readyz")
    assert code == 503
    # The load has some rubbish of its own: its reason, if there is any in the sample, is named second. How many teams are counted
    # depends on how many good events are left in the sample; and the next worker, which is not held up by anything, has another one.
    found = re.search(r"rejected \(unknown_token(?:, \w+)?\), (?:(\d+) of (\d+) teams accepted|as before)", text)
    assert found, text
    assert found[1] is None or int(found[1]) < int(found[2]) / 2, text
    code, text = scene.get("/healthz")
    assert (code, text.startswith("breaker open: ")) == (200, True), text
    assert "\nsluice_breaker_open 1.0\n" in scene.get("/metrics")[1]
    done = scene.topic.done()
    scene.wait_for_producer()
    assert scene.topic.unacknowledged() > 3_000, "lag grows"
    restarts = scene.restarts()
    wait_until(lambda: scene.restarts() > restarts, 90, "another try, in vain")
    scene.replace_registry(scene.good)
    wait_until(lambda: scene.topic.done() > done, 90, "it goes on by itself")
    wait_until(lambda: scene.get("/readyz") == (200, "running\n"), 60, "it is ready again")
    count = scene.finish()
    leaked = scene.letters("unknown_token") - usual
    assert leaked < LEAK
    assert (count.doubled, count.shown_twice, count.unexpected) == (0, 0, 0), count.row()
    assert count.lost <= leaked, "everything but the letters is stored, once"
    assert count.audit.balanced, count.row()


@pytest.mark.timeout(300)
def test_a_registry_of_rubbish_dead_letters_nothing(scene: Scene) -> None:
    """A job that runs keeps the last good one; a worker that starts has none, and fails, so that lag grows until the file is mended."""
    scene.send(scene.payloads[:6_000])
    scene.replace_registry("<html>504 Gateway Time-out</html>")
    scene.produce(scene.payloads[6_000:12_000])
    wait_until(lambda: "The last good team registry stays in force" in scene.log.read_text(), 60, "it is noticed")
    scene.wait_for_producer()
    wait_until(lambda: scene.topic.unacknowledged() == 0, 90, "all of it is stored all the same")
    assert scene.stream.kill("worker")
    wait_until(lambda: "the worker ended with code 2" in scene.log.read_text(), 90, "a worker that cannot start")
    scene.produce(scene.payloads[12_000:])
    scene.wait_for_producer()
    assert scene.topic.unacknowledged() == 6_000, "lag grows"
    scene.replace_registry(scene.good)
    count = scene.finish()
    count.assert_right()
    assert count.doubled == 0
    assert scene.letters("unknown_token") < 20, "those of the load itself"


POISON = b'{"event": "e", "distinct_id": "d", "token": "phc_of_a_customer_who_left", "properties": {"n": %d}}'
UNREADABLE = b'{"event": "e", "distinct_id": "d", "token": %d'


@pytest.mark.timeout(300)
def test_the_rubbish_of_one_sender_stops_nothing(scene: Scene) -> None:
    """5%, 50% and then nothing but poison, and two thirds of what nobody can read: all of it is counted, others' events are stored."""
    good, sent = scene.payloads, 6_000
    for first, share in ((0, 0.05), (6_000, 0.5)):
        poison = [POISON % number for number in range(int(6_000 * share / (1 - share)))]
        sent += len(poison)
        scene.send(mixed(good[first : first + 6_000], poison))
    scene.send([POISON % number for number in range(6_000)])
    scene.send(mixed(good[12_000:], [UNREADABLE % number for number in range(12_000)]))
    count = scene.finish()
    count.assert_right()
    assert count.doubled == 0
    assert scene.letters("unknown_token") - sent in range(20), "and those of the load itself"
    assert scene.letters("malformed_body") - 12_000 in range(20)
    assert "the worker ended" not in scene.log.read_text()


def mixed(good: Sequence[bytes], poison: Sequence[bytes]) -> list[bytes]:
    """Return both, poison spread evenly among the good ones."""
    keyed = [(place / len(part), payload) for part in (good, poison) for place, payload in enumerate(part)]
    return [payload for _, payload in sorted(keyed, key=lambda one: one[0])]
