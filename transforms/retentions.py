"""Which days of arrival are dropped: what comes from one again is refused, and never stored again (docs/retain.md)."""

from collections.abc import Callable
from threading import Lock
from time import monotonic
from typing import Any, Protocol

REFRESH = 10.0  # seconds


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


def dropped_before(client: Reader) -> int:
    """Return before when all that arrived is dropped by `sluice retain`, seconds since 1970; 0 if nothing is."""
    ((seconds,),) = client.rows("SELECT toUInt32(toDateTime(max(before), 'UTC')) FROM retentions")
    return int(seconds)


class DroppedDays:
    """Know which days are dropped, at most `refresh` seconds later. Safe to use from many threads.

    Args:
        client: where the table `retentions` is.
        refresh: seconds between two looks.
        clock: seconds, which never jumps.
    """

    def __init__(self, client: Reader, refresh: float = REFRESH, clock: Callable[[], float] = monotonic) -> None:
        self._client = client
        self._refresh = refresh
        self._clock = clock
        self._lock = Lock()
        self._looked_at = float("-inf")
        self._before = 0

    def before(self) -> int:
        """Return before when all that arrived is dropped, microseconds since 1970."""
        with self._lock:
            if self._clock() >= self._looked_at + self._refresh:
                self._before = dropped_before(self._client) * 1_000_000
                self._looked_at = self._clock()
            return self._before
