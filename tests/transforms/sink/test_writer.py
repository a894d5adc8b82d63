"""The writer while ClickHouse is away: nothing is reported that is not stored, and no event comes to an end by it."""

from collections import Counter

import pyarrow as pa
import pytest

from schemas.errors import Unavailable
from schemas.event import Batch, DeadLetter, Event
from schemas.outcomes import Outcome, Tally
from transforms.dedupe.filter import Verdicts
from transforms.sink import writer as writer_module
from transforms.sink.writer import Writer

NOW = 1_795_000_000_000_000
LETTER = DeadLetter(3, "missing_event_name", "no name", "ParseEvents", b"{}", NOW, 1, 900, 0)


class Tables:
    """A ClickHouse that takes so many inserts before it is away."""

    def __init__(self, inserts: int) -> None:
        self.left = inserts
        self.rows: dict[str, int] = {}
        self.sizes: list[int] = []  # of inserts, bytes

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        if not self.left:
            raise Unavailable("ClickHouse at 127.0.0.1:9000 did not answer")
        self.left -= 1
        self.sizes.append(rows.nbytes)
        self.rows[table] = self.rows.get(table, 0) + len(rows)


def batch() -> tuple[Batch, Verdicts]:
    events = [Event(3, n.to_bytes(16), "e", "d", NOW, NOW, b"{}", "", False, 0, 1, n, 0) for n in range(3)]
    return Batch(events, [LETTER]), Verdicts([0, 1], [2], [], [])


@pytest.mark.parametrize("inserts", [0, 1])
def test_an_outage_is_raised_and_nothing_is_reported_or_rejected(inserts: int) -> None:
    tables = Tables(inserts)
    writer = Writer(tables, 1000, 1 << 20)
    writer.add(*batch())
    with pytest.raises(Unavailable):
        writer.settle()
    assert tables.rows == ({"dead_letters": 1} if inserts else {}), "letters that were rubbish from the start, and no others"
    writer.close()


def test_what_is_run_again_after_it_is_reported_once() -> None:
    tables = Tables(1)
    writer = Writer(tables, 1000, 1 << 20)
    writer.add(*batch())
    with pytest.raises(Unavailable):
        writer.settle()
    writer.discard()
    tables.left = 10
    writer.add(*batch())
    tallies = sorted(tally for report in writer.settle() for tally in map(_plain, report.tallies))
    assert tallies == sorted([(Outcome.STORED, "", 2), (Outcome.DUPLICATE, "", 1), (Outcome.REJECTED, "missing_event_name", 1)])
    assert tables.rows["events"] == 2
    writer.close()


@pytest.mark.parametrize("size", [200_000, writer_module.PIECE_BYTES + 1])
def test_a_batch_with_much_is_inserted_piece_by_piece_and_reported_once(size: int) -> None:
    """Attack B2. A row is never larger than a piece in truth; should one be, it is a piece."""
    tables = Tables(1000)
    writer = Writer(tables, 1000, 1 << 30)
    fat = b"x" * size
    events = [Event(3, n.to_bytes(16), "e", "d", NOW, NOW, b"{}", "", False, 0, n % 2, n, 0, person_properties=fat) for n in range(400)]
    events = events if size < 1 << 20 else events[:4]
    reports = writer.add(Batch(events, [LETTER]), Verdicts(list(range(len(events))), [], [], [])) + writer.settle()
    counts: Counter[int] = Counter()
    for report in reports:
        for tally in report.tallies:
            counts[tally.outcome] += tally.count
    assert counts == {Outcome.STORED: len(events), Outcome.REJECTED: 1}
    assert tables.rows == {"dead_letters": 1, "events": len(events)}
    assert len(tables.sizes) > 3
    assert max(tables.sizes) < max(writer_module.PIECE_BYTES, size) * 1.01
    writer.close()


def test_what_an_outage_leaves_of_a_batch_in_pieces_is_reported_by_the_next_attempt() -> None:
    tables = Tables(2)  # the letters, and a piece
    writer = Writer(tables, 1000, 1 << 30)
    fat = b"x" * (writer_module.PIECE_BYTES // 2)
    events = [Event(3, n.to_bytes(16), "e", "d", NOW, NOW, b"{}", "", False, 0, 1, n, 0, person_properties=fat) for n in range(8)]
    with pytest.raises(Unavailable):
        writer.add(Batch(events, [LETTER]), Verdicts(list(range(8)), [], [], []))
    assert tables.rows == {"dead_letters": 1, "events": 2}
    writer.discard()
    tables.left = 10
    again = writer.add(Batch(events, []), Verdicts([2, 3, 4, 5, 6, 7], [], [], [0, 1])) + writer.settle()  # as the filter finds them
    assert sum(tally.count for report in again for tally in report.tallies if tally.outcome == Outcome.STORED) == 8
    writer.close()


def _plain(tally: Tally) -> tuple[int, str, int]:
    return tally.outcome, tally.reason, tally.count
