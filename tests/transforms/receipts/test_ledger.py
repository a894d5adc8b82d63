"""The ledger's tables, written once, twice, and in part."""

from collections.abc import Sequence
from uuid import UUID

import pyarrow as pa
import pytest

from schemas.errors import Unavailable
from schemas.message import FileRange
from schemas.outcomes import Outcome, Report, Tally
from transforms.io.clickhouse import Client, shared
from transforms.receipts import Ledger, ledger
from transforms.receipts.accounts import Account

RUN = "01935b1e-7c5a-7def-8123-456789abcdef"
HOUR = 1_795_000_000 // 3600 * 3600
MAX = 2**64 - 1
RECEIPTS = "SELECT receipt, toString(status), run, source, start, end, messages FROM receipts FINAL ORDER BY receipt"
OUTCOMES = "SELECT receipt, team_id, toUnixTimestamp(hour), toString(outcome), reason, count FROM outcomes FINAL ORDER BY ALL"


@pytest.fixture
def client(sink: str) -> Client:
    return shared(sink)


def opened(receipt: int, path: str = "gs://b/é.jsonl", start: int = 3, end: int = MAX) -> FileRange:
    return FileRange(receipt, path, "lines", start, end, MAX, 0)


def account(receipt: int, tallies: Sequence[Tally], messages: int = 4, source: str = "gs://b/é.jsonl") -> Account:
    found = Account(receipt)
    found.add(Report(receipt, list(tallies), parsed=messages, read=messages, source=source, start=3, end=MAX))
    return found


BALANCED = [
    Tally(2**63 - 1, HOUR, Outcome.RECEIVED, "", MAX),
    Tally(2**63 - 1, HOUR, Outcome.STORED, "", MAX),
    Tally(0, HOUR + 3600, Outcome.RECEIVED, "", 1),
    Tally(0, HOUR + 3600, Outcome.REJECTED, "unknown_token", 1),
]


def test_ranges_are_open_with_their_positions(sink: str, client: Client) -> None:
    Ledger(sink, RUN).open_receipts([opened(MAX), opened(1, "b", 0, 0)])
    assert client.rows(RECEIPTS) == [(1, "open", UUID(RUN), "b", 0, 0, 0), (MAX, "open", UUID(RUN), "gs://b/é.jsonl", 3, MAX, 0)]


def test_what_became_of_a_receipt_is_written_with_it(sink: str, client: Client) -> None:
    Ledger(sink, RUN).acknowledge([account(MAX, BALANCED)])
    assert client.rows(RECEIPTS) == [(MAX, "acknowledged", UUID(RUN), "gs://b/é.jsonl", 3, MAX, 4)]
    assert client.rows(OUTCOMES) == [
        (MAX, 0, HOUR + 3600, "received", "", 1),
        (MAX, 0, HOUR + 3600, "rejected", "unknown_token", 1),
        (MAX, 2**63 - 1, HOUR, "received", "", MAX),
        (MAX, 2**63 - 1, HOUR, "stored", "", MAX),
    ]


@pytest.mark.parametrize("again", [1, 3])
def test_writing_again_changes_nothing(sink: str, client: Client, again: int) -> None:
    Ledger(sink, RUN).open_receipts([opened(1), opened(2)])
    Ledger(sink, RUN).acknowledge([account(1, BALANCED)])
    before = client.rows(RECEIPTS), client.rows(OUTCOMES)
    for _ in range(again):
        Ledger(sink, RUN).acknowledge([account(1, BALANCED)])
        Ledger(sink, RUN).open_receipts([opened(1), opened(2)])
    assert (client.rows(RECEIPTS), client.rows(OUTCOMES)) == before
    assert [row[1] for row in before[0]] == ["acknowledged", "open"]


def test_merges_of_the_tables_change_nothing(sink: str, client: Client) -> None:
    for _ in range(3):
        Ledger(sink, RUN).acknowledge([account(1, BALANCED)])
        Ledger(sink, RUN).open_receipts([opened(1)])
    before = client.rows(RECEIPTS), client.rows(OUTCOMES)
    client.command("OPTIMIZE TABLE receipts FINAL")
    client.command("OPTIMIZE TABLE outcomes FINAL")
    assert client.rows("SELECT count() FROM receipts") == [(1,)]
    assert (client.rows(RECEIPTS), client.rows(OUTCOMES)) == before


def test_a_receipt_of_nothing_has_no_outcomes(sink: str, client: Client) -> None:
    Ledger(sink, RUN).acknowledge([account(1, [], messages=0)])
    assert [row[:2] for row in client.rows(RECEIPTS)] == [(1, "acknowledged")]
    assert client.rows(OUTCOMES) == []


class Recorder:
    """A client that keeps what is inserted, and is away for one table."""

    def __init__(self, away: str = "") -> None:
        self.away = away
        self.inserted: list[tuple[str, int]] = []

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        if table == self.away:
            raise Unavailable(f"{table} is away")
        self.inserted.append((table, rows.num_rows))


def test_a_receipt_is_acknowledged_after_its_outcomes_are_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(ledger, "shared", lambda _: recorder)
    Ledger("chdb:x", RUN).acknowledge([account(1, BALANCED), account(2, BALANCED[:2])])
    assert recorder.inserted == [("outcomes", 6), ("receipts", 2)]


def test_a_receipt_whose_outcomes_cannot_be_written_stays_open(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(away="outcomes")
    monkeypatch.setattr(ledger, "shared", lambda _: recorder)
    with pytest.raises(Unavailable):
        Ledger("chdb:x", RUN).acknowledge([account(1, BALANCED)])
    assert recorder.inserted == []


def test_nothing_to_say_nothing_written(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    monkeypatch.setattr(ledger, "shared", lambda _: recorder)
    Ledger("chdb:x", RUN).acknowledge([])
    Ledger("chdb:x", RUN).open_receipts([])
    assert recorder.inserted == []
