"""An insert that may take several attempts: the rows that are left come out, with the token and the query's id of the next attempt."""

from collections.abc import Callable
from uuid import uuid4

import pyarrow as pa


class Sending:
    """Rows on their way into a table.

    Args:
        token: of the first attempt, and of all if nothing can tell what is left.
        left: what of the rows is still to be inserted after an attempt whose end is not known.

    Attributes:
        query: the id of the attempt that was begun last; empty if there was none.
    """

    def __init__(self, table: str, rows: pa.Table, token: str, left: Callable[[pa.Table], pa.Table] | None) -> None:
        self.table = table
        self.what = f"insert of {rows.num_rows} rows into {table}"
        self.token = token or uuid4().hex
        self.query = ""
        self._rows = rows
        self._left = left

    @property
    def looks(self) -> bool:
        """Whether the next attempt looks for what the one before has done, which must have ended."""
        return bool(self.query) and self._left is not None

    def next(self) -> pa.Table | None:
        """Return the rows of the next attempt, or None if none are left."""
        if self._left is not None and self.query:
            self._rows = self._left(self._rows)
            self.token = uuid4().hex
        self.query = uuid4().hex
        return self._rows if self._rows.num_rows else None
