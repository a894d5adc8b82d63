"""Which receipts are complete: said by this process's own steps at once, and by all others through the table."""

import threading
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from transforms.io.clickhouse import shared
from transforms.process import once_a_process

KEPT = 100_000  # receipts that nobody has asked for: those of other processes' sources


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


class Completed:
    """The receipts that were acknowledged. Safe to use from many threads.

    Args:
        client: where the table `receipts` is.
    """

    def __init__(self, client: Reader) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._told: dict[int, None] = {}

    def tell(self, receipts: Iterable[int]) -> None:
        """Take in receipts whose rows were just written."""
        with self._lock:
            self._told |= dict.fromkeys(receipts)
            for receipt in list(self._told)[: max(0, len(self._told) - KEPT)]:
                del self._told[receipt]

    def told(self, receipts: Iterable[int]) -> list[int]:
        """Return which of some receipts this process has completed, and forget them."""
        with self._lock:
            found = [receipt for receipt in receipts if receipt in self._told]
            for receipt in found:
                del self._told[receipt]
        return found

    def stored(self, receipts: Sequence[int]) -> list[int]:
        """Return which of some receipts the table has as acknowledged, whoever completed them."""
        if not receipts:
            return []
        ids = ",".join(map(str, receipts))
        return [
            row[0]
            for row in self._client.rows(f"SELECT DISTINCT receipt FROM receipts WHERE receipt IN ({ids}) AND status = 'acknowledged'")
        ]


@once_a_process()
def completed(sink: str) -> Completed:
    """Return what this process knows of a sink's receipts."""
    return Completed(shared(sink))
