"""Letters that are chosen in, the pages of a replay, and the messages of a page, out."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import msgspec
import pyarrow as pa

from schemas.message import Messages, Origin
from schemas.tables import REPLAYS
from transforms.io.clickhouse.statements import literal
from transforms.io.letters.selection import Chosen, Reader, Selection, chosen
from transforms.runs import receipt_of

PAGE_LETTERS = 4_000
PAGE_BYTES = 16 << 20  # of bodies; a longer one goes alone
# A statement has at most 256 KiB, and a key up to 130 bytes.
KEYS_AT_ONCE = 1_000


class Client(Reader, Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns."""

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Insert all rows or none."""


class Page(NamedTuple):
    """What a replay reads at once: the letters `[start, end)` of those that were chosen, and their receipt."""

    receipt: int
    start: int
    end: int


def source_of(run: UUID) -> str:
    """Return the name of what a replay reads."""
    return f"letters://{run}"


def cut(sizes: Sequence[int], letters: int, limit: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of pages: at most so many letters, and so many bytes if it is more than one.

    Args:
        sizes: of the letters, in bytes.
        letters, limit: the most of a page.
    """
    start = total = 0
    for place, size in enumerate(sizes):
        if place > start and (place - start == letters or total + size > limit):
            yield start, place
            start, total = place, 0
        total += size
    if start < len(sizes):
        yield start, len(sizes)


def plan(client: Client, run: UUID, selection: Selection, letters: int = PAGE_LETTERS, limit: int = PAGE_BYTES) -> list[Page]:
    """Choose the letters of a replay and write down, in `replays`, which ones it will read; return its pages.

    Args:
        client: where the letters are.
        run: the replay.
        selection: what is replayed.
        letters, limit: the most letters and bytes of a page.
    """
    pages: list[Page] = []
    for some in chosen(client, selection):
        first = pages[-1].end if pages else 0
        bounds = [(first + start, first + end) for start, end in cut([each.bytes for each in some], letters, limit)]
        new = [Page(receipt_of(run, source_of(run), start, end), start, end) for start, end in bounds]
        client.insert("replays", _rows(run, some, new))
        pages += new
    return pages


def _rows(run: UUID, letters: Sequence[Chosen], pages: Sequence[Page]) -> pa.Table:
    receipts = [page.receipt for page in pages for _ in range(page.start, page.end)]
    columns = {
        "team_id": [each.team_id for each in letters],
        "reason": [each.reason for each in letters],
        "_receipt": [each.receipt for each in letters],
        "_offset": [each.offset for each in letters],
        "_index": [each.place for each in letters],
        "run": [run.bytes] * len(letters),
        "replay_receipt": receipts,
        "replay_offset": range(pages[0].start, pages[-1].end),
    }
    return pa.table(columns, schema=REPLAYS)


_READ = """
WITH keys AS ({keys})
SELECT
    replay_offset, body, toUnixTimestamp64Micro(_timestamp) AS arrival,
    stamped, attempt, source, origin_receipt, origin_offset, origin_index
FROM
(
    SELECT * FROM dead_letters FINAL
    WHERE (team_id, reason, _receipt, _offset, _index) IN (SELECT team_id, reason, _receipt, _offset, _index FROM keys)
) AS letter
INNER JOIN keys USING (team_id, reason, _receipt, _offset, _index)
ORDER BY replay_offset
"""


def read_page(client: Client, run: UUID, page: Page) -> Messages:
    """Return the letters of a page as messages, in their order; without those that are gone since they were chosen."""
    keys = (
        "SELECT team_id, reason, _receipt, _offset, _index, replay_offset FROM replays FINAL"
        f" WHERE run = '{run}' AND replay_offset >= {page.start} AND replay_offset < {page.end}"
    )
    return as_messages(client.columns(_READ.format(keys=keys)), source_of(run), page)


def peek(client: Client, letters: Sequence[Chosen]) -> Iterator[Messages]:
    """Yield letters as messages, as a replay would read them, without a trace in the tables."""
    structure = literal("team_id Int64, reason String, _receipt UInt64, _offset UInt64, _index UInt32, replay_offset UInt64")
    for start, end in cut([letter.bytes for letter in letters], KEYS_AT_ONCE, PAGE_BYTES):
        keys = [(each.team_id, each.reason, each.receipt, each.offset, each.place, start + n) for n, each in enumerate(letters[start:end])]
        rows = literal(msgspec.json.encode(keys)[1:-1].decode())
        source = f"SELECT * FROM format(JSONCompactEachRow, {structure}, {rows})"
        yield as_messages(client.columns(_READ.format(keys=source)), "letters://", Page(0, start, end))


def as_messages(columns: dict[str, list[Any]], source: str, page: Page) -> Messages:
    """Return letters as messages that come out as those of their first attempt would have.

    Args:
        columns: `replay_offset`, `body`, `arrival` (microseconds since 1970), and the columns of `dead_letters` of an `Origin`.
        source: the replay's.
        page: theirs.
    """
    names = ("source", "origin_receipt", "origin_offset", "origin_index", "stamped", "attempt")
    origins = [Origin(place.decode(), *rest) for place, *rest in zip(*(columns[name] for name in names), strict=True)]
    return Messages(
        receipt=page.receipt,
        source=source,
        payloads=columns["body"],
        offsets=columns["replay_offset"],
        arrival=0,  # each has its own
        arrivals=columns["arrival"],
        start=page.start,
        end=page.end,
        origins=origins,
    )
