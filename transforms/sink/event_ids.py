"""The table of stored ids, as the duplicate filter reads it back."""

from collections.abc import Sequence
from typing import Any, Protocol

from schemas.identity import BUCKETS
from transforms.dedupe.filter import MARGIN, StoredIds


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns."""


class EventIds:
    """Read a shard's part of `event_ids`: a range of buckets.

    Args:
        client: where from.
        started: when the job started, microseconds since 1970.
    """

    def __init__(self, client: Reader, started: int) -> None:
        self._client = client
        self._started = started

    def load(self, shard: int, shards: int, days: Sequence[int], since: int) -> StoredIds:
        """Return the ids of a shard that arrived on `days` (since 1970) and were stored after `since`, microseconds since 1970."""
        width = BUCKETS // shards
        where = (
            f"bucket BETWEEN {shard * width} AND {shard * width + width - 1}"
            f" AND toDate(_timestamp) IN ({', '.join(str(day) for day in days)})"
        )
        ids = self._client.columns(
            f"SELECT toUInt32(toDate(_timestamp)) AS day, groupArray(id) AS ids FROM event_ids"
            f" WHERE {where} AND inserted_at >= fromUnixTimestamp64Micro({max(since, 0)}) GROUP BY day"
        )
        own = self._client.columns(
            f"SELECT _receipt, _offset, _index FROM event_ids"
            f" WHERE {where} AND inserted_at >= fromUnixTimestamp64Micro({max(since, self._started - MARGIN, 0)})"
        )
        return StoredIds(
            {day: b"".join(keys) for day, keys in zip(ids["day"], ids["ids"], strict=True)},
            set(zip(own["_receipt"], own["_offset"], own["_index"], strict=True)),
        )
