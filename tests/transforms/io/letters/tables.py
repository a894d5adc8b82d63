"""Letters, replays and receipts, written as jobs write them."""

from collections.abc import Sequence
from uuid import UUID

import msgspec

from schemas.event import DeadLetter
from schemas.message import FileRange
from schemas.outcomes import Report
from transforms.io.clickhouse import Client, shared
from transforms.io.migrate import migrate
from transforms.receipts import Ledger
from transforms.receipts.accounts import Account
from transforms.sink.rows import letter_rows

HOUR = 3_600_000_000
NOON = 1_795_000_000_000_000 // HOUR * HOUR
RUN = UUID("01935b1e-7c5a-7def-8123-456789abcdef")


def letter(offset: int, reason: str = "unknown_token", body: bytes = b"{}", receipt: int = 5, **fields: object) -> DeadLetter:
    """Return the first letter of a message at a place."""
    one = DeadLetter(0, reason, "no team", "ParseEvents", body, NOON, receipt, offset, 0, True, 1, "topic/1", receipt, offset, 0)
    return msgspec.structs.replace(one, **fields)


class Tables:
    """The tables of a sink."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client: Client = shared(url)
        migrate(self.client)

    def write(self, letters: Sequence[DeadLetter]) -> None:
        self.client.insert("dead_letters", letter_rows(letters))

    def acknowledge(self, *receipts: int) -> None:
        for receipt in receipts:
            account = Account(receipt)
            account.add(Report(receipt, parsed=1, read=1, source="s", start=0, end=1))
            Ledger(self.url, str(RUN)).acknowledge([account])

    def open(self, receipt: int) -> None:
        Ledger(self.url, str(RUN)).open_receipts([FileRange(receipt, "s", "lines", 0, 1, 1, 0)])

    def statuses(self) -> dict[tuple[int, int], str]:
        """Return the status of each letter by receipt and offset."""
        rows = self.client.rows("SELECT _receipt, _offset, status FROM letters")
        assert len({row[:2] for row in rows}) == len(rows)
        return {(receipt, offset): status for receipt, offset, status in rows}
