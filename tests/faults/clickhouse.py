"""A ClickHouse that is slow, refuses, or answers too late, while a stream runs: what waits meanwhile, and what is stored at the end."""

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen
from uuid import UUID

from prometheus_client.parser import text_string_to_metric_families

from pipelines.audit import audit
from pipelines.compact import compact
from pipelines.produce import messages_of, open_topic, produce
from tests.faults.streams import Count, KafkaTopic, Load, Stream, new_tables
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.faults import Fault
from tests.servers.kafka import Kafka
from tests.servers.process import free_port, wait_until
from tests.servers.proxy import Proxy
from transforms.io.clickhouse import Client, connect

RECEIPT_MESSAGES, IN_FLIGHT, SPLITS = 50, 3, 2
WARM = 100  # messages before the first fault
MOST_READ = RECEIPT_MESSAGES * IN_FLIGHT * SPLITS  # messages of one event each, by one worker, while nothing is stored


class Trouble(NamedTuple):
    """A fault, and how the client loses the server while an insert is held: its connections are cut, or its worker is killed."""

    name: str
    fault: Fault
    then: str = ""


_UUID = re.compile(rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
HELD = Fault(hold=True, table="events")
TROUBLES = (
    Trouble("slow: each statement takes 2 s", Fault(delay=2)),
    Trouble("too many parts (252)", Fault(refuse=252, text="Too many parts (3000)", table="events")),
    Trouble("replicas are read-only (242)", Fault(refuse=242, text="Table is in readonly mode")),
    Trouble("no space left (243)", Fault(refuse=243, text="Cannot reserve 1.00 MiB, not enough space")),
    Trouble("the user may only read (164)", Fault(refuse=164, text="Cannot execute query in readonly mode")),
    Trouble("answers after the client gave up", HELD, "cut"),
    Trouble("answers after the worker was killed", HELD, "kill"),
)


class Rows(NamedTuple):
    """What is in the tables; ids with their team."""

    rows: int
    ids: set[tuple[Any, ...]]
    shown: int


class Told(NamedTuple):
    """Of a job's metrics: events received by all its workers, how many workers were started after the first, and each split's lag."""

    received: int
    restarts: int
    lags: tuple[int, ...]


class Scene:
    """A topic, a job whose way to ClickHouse leads through a proxy, and the tables."""

    def __init__(self, kafka: Kafka, engine: ClickHouseEngine, proxy: Proxy, folder: Path, teams: str) -> None:
        self.sink = new_tables(engine)
        self.client: Client = connect(self.sink)
        self.client.command("SYSTEM STOP MERGES events")  # or rows that are stored twice would go before they are counted
        self.topic = KafkaTopic(kafka)
        self._proxy = proxy
        self._faults = engine.faults
        self._health = free_port()
        limits = [f"--receipt_messages={RECEIPT_MESSAGES}", f"--in_flight={IN_FLIGHT}", f"--splits={SPLITS}"]
        through = engine.url(self.sink.rpartition("/")[2], proxy.port)
        self.stream = Stream(self.topic, through, teams, folder, f"--health-port={self._health}", *limits)

    def send(self, messages: Sequence[bytes]) -> None:
        produce(messages, open_topic(self.topic.to))

    def suffer(self, trouble: Trouble, messages: Sequence[bytes], seconds: float) -> float:
        """Send messages when a fault has begun; return the seconds after its end until everything is acknowledged."""
        # What a job says is a second old, and its lag two more: until it knows of all that it did, it would be counted for this trouble.
        wait_until(lambda: self._told().lags == (0,) * SPLITS, 60, "a job that knows that nothing is left")
        ends, held, before = time.monotonic() + seconds, self._faults.held, self._told()
        with self._faults.on(trouble.fault):
            self.send(messages)
            if trouble.then:
                wait_until(lambda: self._faults.held > held, 60, "an insert that is held")
                self._leave(trouble.then)
            if trouble.fault.table:  # as reading goes on while other tables take their rows
                wait_until(lambda: self._told().received > before.received, 60, "events that are read meanwhile")
            wait_until(lambda: time.monotonic() > ends, 60, "the end of the fault")
            told, left = self._told(), self.topic.unacknowledged()
        assert 0 < left <= len(messages), f"{left} messages waited"
        if not trouble.fault.delay:
            assert left == len(messages), f"{len(messages) - left} messages were acknowledged that could not be stored"
            read, workers = told.received - before.received, 1 + told.restarts - before.restarts
            assert read <= MOST_READ * workers < len(messages) * workers, f"{workers} workers have read {read} messages"
        began = time.monotonic()
        wait_until(lambda: self.topic.unacknowledged() == 0, 120, "all acknowledgements")
        return time.monotonic() - began

    def _leave(self, how: str) -> None:
        """Have the client lose the server. One that was cut off waits for what it sent; a worker's successor sends it again."""
        held = self._faults.held
        if how == "cut":
            self._proxy.cut()
            return
        assert self.stream.kill("worker")
        wait_until(lambda: self._faults.held > held, 90, "an insert of the next attempt")

    def rows(self) -> Rows:
        ids = self.client.rows("SELECT team_id, uuid FROM events")
        ((shown,),) = self.client.rows("SELECT count() FROM events_unique")
        return Rows(len(ids), set(ids), shown)

    def letters(self) -> int:
        """Return how many dead letters there are; a receipt that a killed worker did not complete may have left its own."""
        done = "SELECT receipt FROM receipts FINAL WHERE status = 'acknowledged'"
        ((count,),) = self.client.rows(f"SELECT count() FROM dead_letters FINAL WHERE _receipt IN ({done})")
        return int(count)

    def _told(self) -> Told:
        """Return what the job says of itself."""
        with urlopen(f"http://127.0.0.1:{self._health}/metrics", timeout=30) as answer:
            families = text_string_to_metric_families(answer.read().decode())
        samples = [(sample.name, int(sample.value)) for family in families for sample in family.samples]
        lags = tuple(value for name, value in samples if name == "sluice_lag_messages")
        values = dict(samples)
        return Told(values["sluice_events_received_total"], values["sluice_workers_restarted_total"], lags)

    def close(self) -> None:
        self.stream.destroy()
        self.client.close()


def clickhouse_troubles(
    kafka: Kafka, engine: ClickHouseEngine, folder: Path, events: int, seconds: float, say: Callable[[str], None] = print
) -> list[dict[str, Any]]:
    """Let one fault after the other happen to one job; return a row for each.

    Args:
        events: that are sent while a fault lasts.
        seconds: that each lasts.
    """
    load = Load(folder, events * len(TROUBLES), seed=2)
    messages = list(messages_of([str(load.folder)]))
    first, messages = messages[:WARM], messages[WARM:]
    share = -(-len(messages) // len(TROUBLES))
    found = []
    with Proxy(engine.port) as proxy:
        scene = Scene(kafka, engine, proxy, folder, load.teams)
        try:
            scene.send(first)
            wait_until(lambda: scene.topic.done() == len(first), 60, "a job at work")
            for number, trouble in enumerate(TROUBLES):
                found.append(_row(scene, trouble, load, messages[number * share : (number + 1) * share], seconds))
                say(str(found[-1]))
            assert scene.stream.stop() == 0
            assert scene.letters() == load.rejected, "what was rubbish from the start"
            Count(scene.sink, load).assert_right()
            scene.client.command("SYSTEM START MERGES events")
            compact(scene.client)
            now = scene.rows()
            assert now.rows == len(now.ids)
            found = [{**row, "after compact": now.rows - len(now.ids)} for row in found]
            assert audit(scene.client).balanced
        finally:
            scene.close()
    return found


def _row(scene: Scene, trouble: Trouble, load: Load, messages: Sequence[bytes], seconds: float) -> dict[str, Any]:
    before = scene.rows()
    recovered = scene.suffer(trouble, messages, seconds)
    now, result = scene.rows(), audit(scene.client)
    assert result.balanced, [str(one) for one in result.differences[:5]]
    assert scene.letters() == result.rejected
    assert now.shown == len(now.ids), "each id is shown once"
    sent = {UUID(text.decode()) for message in messages for text in _UUID.findall(message)}
    return {
        "what happens": f"ClickHouse: {trouble.name}",
        "sent": len(messages),
        "stored": len(now.ids - before.ids),
        "doubled": (now.rows - len(now.ids)) - (before.rows - len(before.ids)),
        "lost": len({one for one in load.expected if one[1] in sent} - now.ids),
        "seconds to recover": f"{recovered:.1f}",
    }
