"""One stream that is killed at one point after another, each time with messages of its own under way; and what became of them."""

import json
import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

from pipelines.produce import messages_of, open_topic, produce
from tests.faults.crash_points import EVERY_SOURCE, FOLDER, OF_KAFKA, OF_PUBSUB, SINK, arm, has_died
from tests.faults.streams import Count, KafkaTopic, Load, PubSubTopic, Stream, compact_tables, new_tables
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.process import wait_until
from transforms.io.clickhouse import connect

MESSAGES = 600  # that are under way when it is killed
SPARE = 6  # times as many messages, for when there is nothing among them that leads to a point
SLUICE = (sys.executable, "-W", "ignore", "-m", "tests.faults.crash_points")


def points_of(kind: str) -> list[str]:
    return list(EVERY_SOURCE | (OF_KAFKA if kind == "kafka" else OF_PUBSUB))


class Crashes:
    """The stream and its load."""

    def __init__(self, broker: KafkaTopic | PubSubTopic, engine: ClickHouseEngine, folder: Path, rows: int, seed: int) -> None:
        self.load = Load(folder, (rows + SPARE) * MESSAGES, seed, invalid=0.01)
        self.sink = new_tables(engine)
        self._broker = broker
        self._folder = folder
        self._messages: Iterator[bytes] = iter(messages_of([str(self.load.folder)]))
        self._topic = open_topic(broker.to)
        self._sent: set[UUID] = set()
        self._ids: set[tuple[int, UUID]] = set()
        os.environ.update({FOLDER: str(folder), SINK: self.sink})
        self.stream = Stream(broker, self.sink, self.load.teams, folder, sluice=SLUICE)

    def row(self, point: str) -> dict[str, Any]:
        """Kill the stream at a point, wait until all is stored and acknowledged, and count."""
        arm(self._folder, point)
        sent = self._send()
        try:
            wait_until(lambda: has_died(self._folder), 20, "death")
        except TimeoutError:
            # One time in a hundred none of the messages has a warning, or none is rejected, and the worker never comes to that point.
            sent += self._send()
            wait_until(lambda: has_died(self._folder), 60, f"death at the point {point!r}")
        began = time.monotonic()
        wait_until(self._is_done, 120, f"recovery from death at the point {point!r}")
        seconds = time.monotonic() - began
        before = self._ids
        rows, shown = self._stored(), self._stored("events_unique")
        self._ids = set(rows)
        compact_tables(self.sink)
        return {
            "what happens": f"{self._broker.source.partition(':')[0]}: killed, {point}",
            "sent": sent,
            "stored": len(self._ids - before),
            "doubled": doubled(rows),
            "shown twice": doubled(shown),
            "after compact": doubled(self._stored()),
            "lost": len(self._due() - self._ids),
            "seconds to recover": f"{seconds:.1f}",
        }

    def finish(self) -> Count:
        """Stop the stream in order; return the count of all."""
        produce(self._messages, self._topic)
        wait_until(lambda: self._is_done() and len(self._stored()) >= len(self.load.expected) + self.load.made, 120, "the rest")
        assert self.stream.stop() == 0
        return Count(self.sink, self.load)

    def _send(self) -> int:
        """Send the next messages; return how many."""
        messages = list(islice(self._messages, MESSAGES))
        produce(messages, self._topic)
        self._sent.update(UUID(found) for message in messages if (found := uuid_of(message)))
        return len(messages)

    def _due(self) -> set[tuple[int, UUID]]:
        return {(team, uuid) for team, uuid in self.load.expected if uuid in self._sent}

    def _is_done(self) -> bool:
        return self._due() <= self._stored().keys() and self._broker.unacknowledged() == 0

    def _stored(self, table: str = "events") -> dict[tuple[int, UUID], int]:
        """Return how many rows each id has."""
        client = connect(self.sink)
        found = client.rows(f"SELECT team_id, uuid, count() FROM {table} GROUP BY team_id, uuid")
        client.close()
        return {(int(team), UUID(str(uuid))): int(rows) for team, uuid, rows in found}


def doubled(rows: dict[tuple[int, UUID], int]) -> int:
    """Return how many rows there are beside one for each id."""
    return sum(rows.values()) - len(rows)


def uuid_of(message: bytes) -> str | None:
    """Return the uuid that a captured message came with."""
    try:
        outer = json.loads(message)
        return str(UUID(outer.get("uuid") or json.loads(outer["data"]).get("uuid")))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None  # rubbish, or without one
