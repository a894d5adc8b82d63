"""The writer: dead letters, warnings and facts first, events next, and when all are stored, the reports of what became of them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol
from uuid import uuid4

import pyarrow as pa

from schemas.event import Batch, DeadLetter, Event, IngestionWarning
from schemas.outcomes import Outcome, Report, Tally
from schemas.persons import PROPERTIES, Fact, GroupFact
from transforms.dedupe.filter import Verdicts
from transforms.sink.rows import event_rows, fact_rows, group_rows, letter_rows, stored_reports, warning_rows

# A batch whose events carry more bytes of person properties than this is inserted piece by piece: what an insert takes in memory, here and
# in ClickHouse, is several times its size.
PIECE_BYTES = 32 << 20


class Inserter(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def insert(self, table: str, rows: pa.Table, token: str = "") -> None:
        """Insert all rows or none; a retry with the same token does not store twice."""


class Writer:
    """Collect rows and insert them in large blocks, while the caller goes on with the next block.

    What was added is durable, and reported, only after `settle`. An error of the insert is raised by the next call that waits for it.

    Args:
        client: where to.
        max_rows, max_bytes: a block is inserted when it has so many rows, or so many bytes.
    """

    def __init__(self, client: Inserter, max_rows: int, max_bytes: int) -> None:
        self._client = client
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="insert")
        self._running: Future[list[Report]] | None = None
        self._block = _Block()

    def add(self, batch: Batch, verdicts: Verdicts) -> list[Report]:
        """Add a batch as it was judged; return the reports of the blocks that were waited for, to go on with the next one.

        What needs no insert is reported together with the block that it came with.
        """
        self._block.add(batch, verdicts)
        *pieces, rest = _pieces([batch.events[place] for place in verdicts.new])
        reports = []
        for piece in pieces:
            self._block.add_rows(piece)
            reports += self._start()
        self._block.add_rows(rest)
        if self._block.count_of_rows() >= self._max_rows or self._block.bytes >= self._max_bytes:
            reports += self._start()
        return reports

    def settle(self) -> list[Report]:
        """Insert all that is left and wait; return the reports that are still due."""
        reports = self._start()
        return reports + self._wait()

    def discard(self) -> None:
        """Forget what was added, after a failed bundle."""
        self._block = _Block()
        if self._running is not None:
            self._running.cancel()
            self._running = None

    def close(self) -> None:
        """Stop the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> list[Report]:
        reports = self._wait()
        block, self._block = self._block, _Block()
        self._running = self._thread.submit(block.insert, self._client)
        return reports

    def _wait(self) -> list[Report]:
        running, self._running = self._running, None
        return running.result() if running is not None else []


class _Block:
    """Rows that are inserted together."""

    def __init__(self) -> None:
        self.rows: list[pa.Table] = []  # of events: made columns at once, while they are in the processor's caches
        self.letters: list[DeadLetter] = []
        self.warnings: list[IngestionWarning] = []
        self.facts: list[Fact] = []
        self.group_facts: list[GroupFact] = []
        self.bytes = 0
        self._counts: Counter[tuple[int, int, int, int, str]] = Counter()

    def count_of_rows(self) -> int:
        """Return how many events there are to insert."""
        return sum(rows.num_rows for rows in self.rows)

    def add(self, batch: Batch, verdicts: Verdicts) -> None:
        """Add all of a batch but the rows of its new events."""
        events = batch.events
        self.letters += batch.letters
        self.warnings += batch.warnings
        self.bytes += sum(len(letter.body) for letter in batch.letters)
        for letter in batch.letters:
            self.count(letter, Outcome.REJECTED, letter.reason)
        self.facts += batch.facts
        for event in events:
            if event.facts:  # of duplicates too: the first may be another receipt's, and not stored yet
                self.facts += event.facts
            if event.group_facts:
                self.group_facts += event.group_facts
        for place in verdicts.duplicate:
            self.count(events[place], Outcome.DUPLICATE, "")
        for place in verdicts.stored:
            self.count(events[place], Outcome.STORED, "")
        for place in verdicts.limited:
            self.count(events[place], Outcome.LIMITED, events[place].limited)

    def add_rows(self, events: Sequence[Event]) -> None:
        """Add the rows of new events."""
        if events:
            rows = event_rows(events)
            self.rows.append(rows)
            self.bytes += rows.nbytes

    def count(self, what: Event | DeadLetter, outcome: Outcome, reason: str) -> None:
        """Count one event, or those that a letter stands for."""
        events = what.events if isinstance(what, DeadLetter) else 1
        self._counts[what.receipt, what.team_id, what.arrival // 3_600_000_000 * 3600, outcome, reason] += events

    def insert(self, client: Inserter) -> list[Report]:
        """Insert everything, events last; return what became of all of it."""
        if self.letters:
            client.insert("dead_letters", letter_rows(self.letters), token=uuid4().hex)
        if self.warnings:
            client.insert("ingestion_warnings", warning_rows(self.warnings), token=uuid4().hex)
        properties = [fact for fact in self.facts if fact.kind in PROPERTIES]
        links = [fact for fact in self.facts if fact.kind not in PROPERTIES]
        for table, facts in (("person_properties", properties), ("person_links", links)):
            if facts:
                client.insert(table, fact_rows(facts), token=uuid4().hex)
        if self.group_facts:
            client.insert("group_properties", group_rows(self.group_facts), token=uuid4().hex)
        reports = self._counted()
        if self.rows:
            rows = pa.concat_tables(self.rows).combine_chunks()
            self.rows = []  # as large as all together
            client.insert("events", rows, token=uuid4().hex)
            reports += stored_reports(rows)
        return reports

    def _counted(self) -> list[Report]:
        reports: dict[int, Report] = {}
        for (receipt, team, hour, outcome, reason), count in self._counts.items():
            reports.setdefault(receipt, Report(receipt, [])).tallies.append(Tally(team, hour, outcome, reason, count))
        return list(reports.values())


def _pieces(events: list[Event]) -> Iterator[list[Event]]:
    """Yield events in order, one list at least, each with about PIECE_BYTES of person properties at most."""
    sizes = [len(event.person_properties) for event in events]
    if sum(sizes) > PIECE_BYTES:
        start = held = 0
        for place, size in enumerate(sizes):
            held += size
            if held > PIECE_BYTES and place > start:
                yield events[start:place]
                start, held = place, size
        events = events[start:]
    yield events
