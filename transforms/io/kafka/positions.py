"""Where to begin to read a partition: at the group's offset, unless what is there is another topic, is gone, or is not in the tables.

An offset that the partition does not have never means that something may be skipped: it is read from the oldest message that is there.
What was stored before is a duplicate then.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple
from uuid import UUID, uuid4

import pyarrow as pa

from schemas.tables import POSITIONS
from transforms.io.clickhouse import Client
from transforms.io.clickhouse.statements import literal
from transforms.io.kafka.offsets import Committed


class Why(Enum):
    """Why a partition is begun where it is (`positions.why`)."""

    GROUP = "group"  # the group's offset
    NEW = "new"  # the group has none: its beginning
    REMADE = "remade"  # the group's is of another topic of that name: its beginning
    EXPIRED = "expired"  # the broker has deleted what comes next: the oldest that is left
    TRUNCATED = "truncated"  # the broker does not have as much any more: the oldest that is there
    BEHIND = "behind"  # the tables do not have what the group's offset says is done: where they end


class Start(NamedTuple):
    """Where a partition is begun.

    Attributes:
        messages: that are lost (expired), or read again (truncated, behind).
    """

    at: Committed
    why: Why
    messages: int = 0


def first_start(found: tuple[Committed, str] | None, topic: str, low: int, stored: int | None) -> Start:
    """Return where a run begins.

    Args:
        found: where the group stands, and the id of the topic that it stood in, "" if that is not known; None if it has no offset.
        topic: the id of the topic of now.
        low: the partition's oldest offset.
        stored: up to where the tables have everything, if that is less than the group's last receipt says; else None.
    """
    if found is None:
        return Start(Committed(low), Why.NEW)
    at, of = found
    if of and of != topic:
        return Start(Committed(low), Why.REMADE)
    if stored is not None and stored < at.offset:
        begin = max(stored, low)
        return Start(Committed(begin), Why.BEHIND, at.offset - begin)
    return Start(at, Why.GROUP)


def next_start(wanted: int, low: int, high: int, receipt: int) -> Start:
    """Return where to go on when the broker does not have the offset that was wanted, or has other messages before it by now."""
    if wanted < low:
        return Start(Committed(low, receipt=receipt), Why.EXPIRED, low - wanted)
    return Start(Committed(low), Why.TRUNCATED, min(wanted, high) - low)


class Positions:
    """What the tables know of where partitions were begun.

    Args:
        client: where the tables are.
        group: the consumer group.
        run: the run's UUID.
    """

    def __init__(self, client: Client, group: str, run: str) -> None:
        self._client = client
        self._group = group
        self._run = run

    def knows(self, cluster: str, name: str) -> bool:
        """Return whether the group has read a topic of this name into these tables, or somebody has before groups were recorded."""
        plain = f"kafka://{cluster}/{name}"
        here = (
            f"SELECT 1 FROM positions WHERE consumer_group = {literal(self._group)} AND startsWith(source, {literal(plain + '/')}) LIMIT 1"
        )
        return bool(self._client.rows(here)) or (not self._known(plain) and self._was_read(plain))

    def name(self, cluster: str, name: str, topic: str) -> str:
        """Return what a topic's sources are called, without the partition.

        Its id is part of that. Only a topic that was read before names had it keeps the one that it had: uuids are made of it.
        """
        plain = f"kafka://{cluster}/{name}"
        named = {topic: source.rpartition("/")[0] for topic, source in self._known(plain)}
        if topic in named:
            return named[topic]
        is_plain = plain not in named.values() and self._was_read(plain)
        return plain if is_plain else f"{plain}/{topic}"

    def count(self, cluster: str, name: str) -> int:
        """Return how many topics of a name there were, on brokers that give them no ids; at least 1."""
        numbers = [topic.removeprefix("#") for topic, _ in self._known(f"kafka://{cluster}/{name}") if topic.startswith("#")]
        return max(map(int, numbers), default=1)

    def _known(self, plain: str) -> list[tuple[str, str]]:
        return [
            (topic, source)
            for topic, source in self._client.rows(
                f"SELECT DISTINCT topic, source FROM positions WHERE startsWith(source, {literal(plain + '/')})"
            )
        ]

    def _was_read(self, plain: str) -> bool:
        pattern = literal("^[0-9]+$")
        return bool(
            self._client.rows(
                f"SELECT 1 FROM receipts WHERE startsWith(source, {literal(plain + '/')})"
                f" AND match(substring(source, {len(plain.encode()) + 2}), {pattern}) LIMIT 1"
            )
        )

    def stored(self, receipts: Mapping[str, int]) -> dict[str, int | None]:
        """Return up to where the tables have everything of those sources whose last receipt they do not have.

        After a backup was restored the group's offsets are ahead of the tables. Of a source that the tables do not know at all it is
        None: it was read into others.

        Args:
            receipts: each source's last one.
        """
        ids = ",".join(map(str, receipts.values()))
        if not ids:
            return {}
        rows = self._client.rows(f"SELECT DISTINCT receipt FROM receipts WHERE receipt IN ({ids}) AND status = 'acknowledged'")
        here = {row[0] for row in rows}
        lacking = [source for source, receipt in receipts.items() if receipt not in here]
        return dict.fromkeys(lacking) | self._ends(lacking) if lacking else {}

    def _ends(self, sources: Sequence[str]) -> dict[str, int]:
        """Return the end of what was acknowledged of each source, up to the first gap."""
        names = ",".join(map(literal, sources))
        rows = self._client.rows(
            "SELECT source, minIf(before, start > before AND number > 1) AS gap, countIf(start > before AND number > 1) AS gaps, max(end)"
            " FROM (SELECT source, start, end, row_number() OVER ordered AS number,"
            "   max(end) OVER (PARTITION BY source ORDER BY start, end ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before"
            f"  FROM receipts WHERE status = 'acknowledged' AND source IN ({names})"
            "   WINDOW ordered AS (PARTITION BY source ORDER BY start, end))"
            " GROUP BY source"
        )
        return {source: gap if gaps else end for source, gap, gaps, end in rows}

    def write(self, topic: str, starts: Iterable[tuple[str, Start]]) -> None:
        """Record where sources are begun."""
        run = UUID(self._run).bytes
        rows = [(source, topic, self._group, run, start.at.offset, start.why.value, start.messages) for source, start in starts]
        if rows:
            columns = zip(*rows, strict=True)
            arrays = [pa.array(column, field.type) for column, field in zip(columns, POSITIONS, strict=True)]
            self._client.insert("positions", pa.Table.from_arrays(arrays, schema=POSITIONS), token=uuid4().hex)
