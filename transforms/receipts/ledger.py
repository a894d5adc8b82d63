"""The ledger's tables: receipts as they are opened and acknowledged, and the outcomes of those that are."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import msgspec
import pyarrow as pa

from schemas.message import FileRange, Messages
from schemas.tables import ACKNOWLEDGED, OPEN, OUTCOMES, RECEIPTS
from transforms.io.clickhouse import shared
from transforms.receipts.accounts import Account
from transforms.receipts.completed import completed


@dataclass(frozen=True)
class Ledger:
    """Write receipts and outcomes. Writing again what was written changes nothing. The process's sources are told what is complete.

    Args:
        sink: the ClickHouse URL.
        run: the run's UUID.
    """

    sink: str
    run: str

    def open_receipts(self, ranges: Sequence[FileRange]) -> None:
        """Record that these ranges of files are about to be read."""
        self._write_receipts([(part.receipt, part.path, part.start, part.end, 0) for part in ranges], OPEN)

    def open_stream(self, messages: Messages) -> None:
        """Record that these messages of a stream are about to be worked on."""
        self._write_receipts([(messages.receipt, messages.source, messages.start, messages.end, 0)], OPEN)

    def acknowledge(self, accounts: Sequence[Account]) -> None:
        """Record what became of complete receipts, and then that they are."""
        rows = [(account.receipt, *msgspec.structs.astuple(tally)) for account in accounts for tally in account.tallies()]
        if rows:
            shared(self.sink).insert("outcomes", _table(rows, OUTCOMES), token=uuid4().hex)
        receipts = [(account.receipt, account.source, account.start, account.end, account.parsed) for account in accounts]
        self._write_receipts(receipts, ACKNOWLEDGED)
        completed(self.sink).tell(account.receipt for account in accounts)

    def _write_receipts(self, receipts: Sequence[tuple[int, str, int, int, int]], status: int) -> None:
        if receipts:
            run = UUID(self.run).bytes
            rows = [(receipt, status, run, source, start, end, count) for receipt, source, start, end, count in receipts]
            shared(self.sink).insert("receipts", _table(rows, RECEIPTS), token=uuid4().hex)


def _table(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    return pa.Table.from_arrays([pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)
