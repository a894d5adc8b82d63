"""Reports in keyed state: over restarts, rollbacks and compactions of the log each receipt completes once, with the right sums."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import Outcome, Report, Tally
from tests.transforms.receipts.news import Receipt, crowds
from tests.transforms.state_fakes import FakeState
from transforms.coders import StructCoder
from transforms.receipts import AcknowledgeReceipts, Ledger, acknowledge
from transforms.receipts.accounts import Account, Accounts
from transforms.receipts.acknowledge import MIN_REPORTS, ShardHead, add_report
from transforms.state.shard_log import Indexes

LEDGER = Ledger("chdb:nowhere", "01935b1e-7c5a-7def-8123-456789abcdef")


class Shard:
    """One shard's state in a runner, and two processes that may be given its bundles."""

    def __init__(self) -> None:
        self.state = FakeState(1)
        self.processes: list[Indexes[Accounts]] = [Indexes(), Indexes()]

    @property
    def log(self) -> list[bytes]:
        return self.state.logs[0].chunks

    def add(self, report: Report, process: int = 0) -> Account | None:
        return add_report(self.processes[process], 5, report, self.state.head, self.state.logs[0])

    def run(self, bundle: Sequence[Report], process: int = 0) -> list[Account]:
        """Return the accounts that a bundle completes."""
        return [account for report in bundle if (account := self.add(report, process)) is not None]

    def fail(self, bundle: Sequence[Report], process: int = 0) -> None:
        """Run a bundle whose state is rolled back. What the process remembers moves on."""
        before = self.state.copy()
        self.run(bundle, process)
        self.state = before


def news(receipt: int, events: int = 3) -> list[Report]:
    """Return three reports that complete a receipt, in any two orders the same."""
    return [
        Report(receipt, read=1, source="f", start=0, end=9),
        Report(receipt, [Tally(1, 3600, Outcome.RECEIVED, "", events)], parsed=1),
        Report(receipt, [Tally(1, 3600, Outcome.STORED, "", events)]),
    ]


def sums(events: int = 3) -> list[Tally]:
    return [Tally(1, 3600, Outcome.RECEIVED, "", events), Tally(1, 3600, Outcome.STORED, "", events)]


def test_a_receipt_completes_over_several_bundles() -> None:
    shard = Shard()
    assert [shard.run([report]) != [] for report in news(1)] == [False, False, True]


def test_a_bundle_that_is_run_again_counts_once() -> None:
    shard, (read, parsed, stored) = Shard(), news(1)
    shard.run([read])
    for _ in range(3):
        shard.fail([parsed])
    assert shard.run([parsed]) == []
    (account,) = shard.run([stored])
    assert account.tallies() == sums()


def test_a_completion_that_was_rolled_back_comes_again() -> None:
    shard = Shard()
    shard.fail(news(1))
    (account,) = shard.run(news(1))
    assert account.tallies() == sums()


def test_a_shard_that_moved_away_and_back_knows_what_happened_meanwhile() -> None:
    shard, (read, parsed, stored) = Shard(), news(1)
    shard.run([read], process=0)
    shard.run([parsed], process=1)
    (account,) = shard.run([stored], process=0)
    assert account.tallies() == sums()


def test_a_new_process_finds_the_log() -> None:
    shard, (read, parsed, stored) = Shard(), news(1)
    shard.run([read, parsed])
    shard.processes[0] = Indexes()
    (account,) = shard.run([stored])
    assert account.tallies() == sums()


@pytest.mark.parametrize("cell", ["head", "log"])
def test_a_report_that_could_not_be_written_does_not_count(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    """The state fails when the sums were changed already: what is remembered of them must not survive."""
    shard, (read, parsed, stored) = Shard(), news(1)
    shard.run([read])
    before = shard.state.copy()
    broken = shard.state.head if cell == "head" else shard.state.logs[0]
    monkeypatch.setattr(broken, "write" if cell == "head" else "add", _fail)
    with pytest.raises(OSError, match="no state"):
        shard.run([parsed])
    shard.state = before
    assert shard.run([parsed]) == []
    (account,) = shard.run([stored])
    assert account.tallies() == sums()


def _fail(_: bytes) -> None:
    raise OSError("no state")


def test_the_log_is_read_once_while_nothing_goes_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    shard = Shard()
    readings = []
    original = shard.state.logs[0].read
    monkeypatch.setattr(shard.state.logs[0], "read", lambda: readings.append(1) or original())
    for receipt in range(200):
        assert len(shard.run(news(receipt))) == 1
    assert len(readings) == 1


BUNDLES = st.lists(
    st.tuples(
        st.integers(1, 6),  # reports in the bundle
        st.lists(st.tuples(st.integers(0, 1), st.integers(0, 6))),  # attempts that fail: in which process, after how many reports
        st.integers(0, 1),  # the process in which it succeeds
        st.booleans(),  # whether that one starts anew before
    ),
    min_size=1,
)


@given(crowds(), BUNDLES, st.integers(0, 4))
def test_each_receipt_completes_once_whatever_fails_and_moves(
    crowd: tuple[dict[int, Receipt], list[Report]], bundles: list[tuple[int, list[tuple[int, int]], int, bool]], min_reports: int
) -> None:
    expected, reports = crowd
    shard, completed, place = Shard(), [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acknowledge, "MIN_REPORTS", min_reports)
        while place < len(reports):
            size, failures, process, restarts = bundles[place % len(bundles)]
            bundle = reports[place : place + size]
            for failing, count in failures:
                shard.fail(bundle[:count], failing)
            if restarts:
                shard.processes[process] = Indexes()
            completed += shard.run(bundle, process)
            place += size
            live = len({report.receipt for report in reports[:place]}) - len(completed)
            assert len(shard.log) <= 2 * live + min_reports
    assert sorted(account.receipt for account in completed) == sorted(expected)
    for account in completed:
        assert account.tallies() == expected[account.receipt].tallies()
        assert (account.parsed, account.end) == (expected[account.receipt].messages, expected[account.receipt].end)


def test_the_log_never_grows_past_twice_what_is_open() -> None:
    """Over thousands of reports, of which some receipts wait for their last one until the end."""
    shard, shuffled = Shard(), random.Random(4)
    reports = [report for receipt in range(40) for report in news(receipt)[:2]]
    for first in range(1000, 2500, 30):
        passing = [report for receipt in range(first, first + 30) for report in news(receipt)]
        shuffled.shuffle(passing)
        reports += passing
    live: dict[int, int] = {}
    completed = 0
    for report in reports:
        live[report.receipt] = live.get(report.receipt, 0) + 1
        if shard.add(report) is not None:
            completed += 1
            del live[report.receipt]
        assert len(shard.log) <= 2 * len(live) + MIN_REPORTS
    assert completed == 1500
    assert len(shard.run([news(receipt)[2] for receipt in range(40)])) == 40


def test_the_head_knows_how_long_the_log_is() -> None:
    shard = Shard()
    for receipt in range(300):
        shard.run(news(receipt)[: 1 + receipt % 3])
        head = StructCoder(ShardHead).decode(shard.state.head.read() or b"")
        assert head.reports == len(shard.log)


def test_each_report_is_a_new_generation() -> None:
    shard = Shard()
    seen = set()
    for report in news(1) + news(2):
        shard.add(report)
        seen.add(StructCoder(ShardHead).decode(shard.state.head.read() or b"").generation)
    assert len(seen) == 6


class Written:
    """A ledger that keeps which receipts are acknowledged together."""

    def __init__(self) -> None:
        self.receipts: list[list[int]] = []

    def acknowledge(self, accounts: Sequence[Account]) -> None:
        self.receipts.append([account.receipt for account in accounts])


def test_a_bundle_acknowledges_what_it_completed_itself() -> None:
    """Not what a bundle before completed, nor one that failed: that may be run elsewhere."""
    written, state = Written(), FakeState(1)
    step = acknowledge._AcknowledgeFn(written)  # type: ignore[arg-type]
    for receipts, fails in (([1, 2], False), ([3], True), ([], False), ([4], False)):
        before = state.copy()
        step.start_bundle()
        for report in [report for receipt in receipts for report in news(receipt)]:
            step.process((0, report), state.head, state.logs[0])
        if fails:
            state = before
        else:
            step.finish_bundle()
    assert written.receipts == [[1, 2], [], [4]]


@pytest.mark.parametrize("shards", [0, -1])
def test_there_is_at_least_one_shard(shards: int) -> None:
    with pytest.raises(ValueError, match=f"shards is {shards}"):
        AcknowledgeReceipts(LEDGER, shards)
