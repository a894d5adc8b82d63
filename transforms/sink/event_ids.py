"""The table of stored ids, as the duplicate filter reads it back."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol
from uuid import UUID

from schemas.identity import BUCKETS
from transforms.dedupe.filter import MARGIN, Delivery, StoredIds
from transforms.io.clickhouse.frontier import frontier
from transforms.runs import started_at


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    embedded: bool

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns."""


class EventIds:
    """Read a shard's part of `event_ids`: a range of buckets.

    Args:
        client: where from.
        run: the job's run, a UUIDv7.
        prepare: called before ids are read: makes sure that the table has those of all stored events.
    """

    def __init__(self, client: Reader, run: UUID, prepare: Callable[[], object] = lambda: None) -> None:
        self.alone = client.embedded  # one process has the database
        self._client = client
        self._run = run
        self._prepare = prepare
        self._since = started_at(run) - MARGIN

    def load(self, shard: int, shards: int, days: Sequence[int], since: int) -> StoredIds:
        """Return the ids of a shard that arrived on `days` (since 1970) and were stored after `since`, microseconds since 1970."""
        self._prepare()
        where = f"{_range(shard, shards)} AND toDate(_timestamp) IN ({', '.join(str(day) for day in days)})"
        ids = self._client.columns(
            f"SELECT toUInt32(toDate(_timestamp)) AS day, groupArray(id) AS ids FROM event_ids"
            f" WHERE {where} AND inserted_at >= fromUnixTimestamp64Micro({max(since, 0)}) GROUP BY day"
        )
        own = self._client.columns(
            f"SELECT DISTINCT receipt FROM receipts WHERE run = '{self._run}' AND receipt IN (SELECT _receipt FROM event_ids"
            f" WHERE {where} AND inserted_at >= fromUnixTimestamp64Micro({max(since, self._since, 0)}))"
        )
        return StoredIds({day: b"".join(keys) for day, keys in zip(ids["day"], ids["ids"], strict=True)}, set(own["receipt"]))

    def deliveries(self, shard: int, shards: int, receipts: Collection[int]) -> set[Delivery]:
        """Return (receipt, offset, index) of what is stored of some receipts of this run in a shard."""
        found = self._client.columns(
            f"SELECT _receipt, _offset, _index FROM event_ids WHERE {_range(shard, shards)}"
            f" AND _receipt IN ({', '.join(map(str, receipts))}) AND inserted_at >= fromUnixTimestamp64Micro({max(self._since, 0)})"
        )
        return set(zip(found["_receipt"], found["_offset"], found["_index"], strict=True))

    def final(self) -> int:
        """Return up to when rows are final, microseconds since 1970."""
        return frontier(self._client).moment

    def others_since(self, since: int) -> bool:
        """Return whether another run than this one has opened or acknowledged a receipt after `since`, microseconds since 1970."""
        found = self._client.columns(
            f"SELECT count() AS runs FROM runs WHERE run != '{self._run}' AND last_written >= fromUnixTimestamp64Micro({since})"
        )
        return bool(found["runs"][0])


def _range(shard: int, shards: int) -> str:
    width = BUCKETS // shards
    return f"bucket BETWEEN {shard * width} AND {shard * width + width - 1}"
