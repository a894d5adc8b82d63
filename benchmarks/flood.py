"""What a team waits while another one floods: `python -m benchmarks.flood [--events 1000000]`.

Team 2 sends 20 events a second all the time. In turn nobody else sends, or team 1 sends its flood as fast as the broker takes it, without a
quota and then with one of 10,000 an hour. A team's wait is from the broker's time of a message until its row can be queried. Broker,
producer, Prism and ClickHouse share the machine with the job.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from confluent_kafka import Producer

from benchmarks.stream import Job, brokers
from tests.faults.streams import Broker
from tests.servers.process import wait_until
from transforms.io.clickhouse import close_all, shared

TEAMS = '[[teams]]\nid = 1\ntokens = ["phc_1"]\n{limits}\n[[teams]]\nid = 2\ntokens = ["phc_2"]\n'
LIMITS = "[teams.limits]\nevents_per_hour = 10000"
QUIET = 15.0  # seconds before and after the flood
PAUSE = 0.05  # between the events of team 2


def event(team: int, number: int) -> bytes:
    """Return an ordinary event, of some 400 bytes."""
    properties = {"$current_url": f"https://example.com/page/{number % 997}", "$browser": "Firefox", "$os": "Linux", "filler": "x" * 150}
    body = {
        "api_key": f"phc_{team}",
        "event": "page",
        "distinct_id": f"user-{number % 50_000}",
        "uuid": str(uuid4()),
        "properties": properties,
    }
    return json.dumps(body).encode()


def flood(producer: Producer, topic: str, events: int) -> None:
    for number in range(events):
        while True:
            try:
                producer.produce(topic, event(1, number))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


def run(topic: Broker, folder: Path, events: int, limits: str) -> dict[str, Any]:
    """Let team 2 send, with a flood of so many events in the middle; return what it waited, in seconds."""
    folder.mkdir()
    (folder / "teams.toml").write_text(TEAMS.format(limits=limits))
    job, sent, stop = Job(topic, folder, str(folder / "teams.toml")), 0, threading.Event()
    server, _, name = topic.to.removeprefix("kafka://").partition("/")
    producer = Producer({"bootstrap.servers": server, "linger.ms": 5, "queue.buffering.max.messages": 200_000})

    def of_team_2() -> None:
        nonlocal sent
        while not stop.wait(PAUSE):
            producer.produce(name, event(2, sent))
            producer.poll(0)
            sent += 1

    try:
        sender = threading.Thread(target=of_team_2)
        sender.start()
        wait_until(lambda: job.received() > 0, 120, "the first events")
        time.sleep(QUIET)
        began = time.time()
        flood(producer, name, events)
        took = time.time() - began
        wait_until(lambda: job.received() >= events and topic.unacknowledged() < 1_000, 1_800, "the end of the flood")
        drained = time.time() - began
        time.sleep(QUIET)
        stop.set()
        sender.join()
        producer.flush()
        wait_until(lambda: topic.unacknowledged() == 0, 120, "the end")
        assert job.stream.stop() == 0
        wait = "(toUnixTimestamp64Micro(inserted_at) - toUnixTimestamp64Micro(_timestamp)) / 1e6"
        waits = ", ".join(f"quantileIf({quantile})({wait}, team_id = 2 AND _timestamp >= {int(began)})" for quantile in (0.5, 0.99, 1))
        ((stored, *quantiles),) = shared(job.sink).rows(f"SELECT countIf(team_id = 2), {waits} FROM events")
        assert stored == sent, f"{sent - stored} of team 2's events are missing"
        seconds = dict(zip(("p50", "p99", "most"), (round(value, 2) for value in quantiles), strict=True))
        return {"flood": events, "sent within, s": round(took, 1), "worked off within, s": round(drained, 1), "team 2 waits, s": seconds}
    finally:
        stop.set()
        job.stream.destroy()
        close_all()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    asked = parser.parse_args()
    for name, events, limits in (("alone", 0, ""), ("no quota", asked.events, ""), ("a quota of 10,000 an hour", asked.events, LIMITS)):
        with tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder, brokers("kafka", Path(folder)) as topic:
            print(json.dumps({"case": name, **run(topic, Path(folder, "job"), events, limits)}), flush=True)


if __name__ == "__main__":
    main()
