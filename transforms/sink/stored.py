"""Inserting rows of `events` so that nothing is lost or doubled when ClickHouse dies in the middle, or answers too late."""

from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from schemas.tables import TIME
from transforms.io.clickhouse.frontier import frontier, moment
from transforms.sink import verify


class Client(verify.Client, Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def insert(self, table: str, rows: pa.Table, token: str = "", left: Callable[[pa.Table], pa.Table] | None = None) -> None:
        """Insert all rows as one block; ask `left` for what is still to be inserted before it is tried again."""


class StoredEvents:
    """The table `events` and its views' tables, kept in agreement. Safe to use from many threads: a process has one for a database.

    Args:
        client: where.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = Lock()
        self._lost: int | None = 0  # the time of rows when an insert was lost; None when all is verified since
        self._due = 0  # it is verified when the frontier is beyond this moment

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Insert all rows or none, into any table.

        When an attempt to insert into `events` fails, what has become of it is looked for: a token that was sent before proves nothing.
        ClickHouse notes a token before the part is in its place. Killed in between, or when the disk is full, it takes the same rows
        for a repeated insert, and stores nothing of them but in the views.
        """
        if table != "events":
            self._client.insert(table, rows, token)
            return
        began = moment(self._client)
        if began.is_behind:
            now = datetime.fromtimestamp(began.now / 1e6, UTC)
            rows = rows.append_column("inserted_at", pa.repeat(pa.scalar(now, TIME), len(rows)))
        since = began.now - verify.MARGIN
        try:
            self._client.insert(table, rows, token, left=lambda sent: self._left(sent, since))
        except BaseException:
            self._note_loss(began.now)
            raise
        self.verify_if_due()

    def verify_if_due(self) -> None:
        """Verify the tables if that was not done yet, or not since an insert was lost."""
        if self._lost is None:
            return
        with self._lock:
            if self._lost is not None and frontier(self._client).moment >= self._due:
                lost = self._lost
                self._due = (lost // verify.MINUTE + 1) * verify.MINUTE  # `usage` is compared by the minute
                if verify.verify(self._client).counted >= lost and self._lost == lost:
                    self._lost = None

    def _note_loss(self, now: int) -> None:
        self._lost, self._due = now, 0

    def _left(self, rows: pa.Table, since: int) -> pa.Table:
        """Return the rows that are not in `events`; those that are get what their views lack of them. No insert of them is at work."""
        receipts = ", ".join(map(str, pc.unique(rows["_receipt"]).to_pylist()))
        where = f"inserted_at >= fromUnixTimestamp64Micro({since}) AND _receipt IN ({receipts})"
        for table in ("event_ids", "unchecked_ids"):
            verify.put_back(self._client, table, where)
        stored = set(self._client.rows(f"SELECT _receipt, _offset, _index FROM events WHERE {where}"))
        self._note_loss(since + verify.MARGIN)
        keys = zip(*(rows[name].to_pylist() for name in ("_receipt", "_offset", "_index")), strict=True)
        return rows.filter(pa.array([key not in stored for key in keys], pa.bool_()))
