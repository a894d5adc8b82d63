"""A receipt's account is complete with its last report, whatever the order, and never before."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.outcomes import Outcome, Report, Tally
from tests.transforms.receipts.news import Receipt, crowds, receipts
from transforms.coders import StructCoder
from transforms.receipts.accounts import Account, Accounts

HOUR = 1_795_000_000 // 3600 * 3600


def received(count: int, receipt: int = 1) -> Tally:
    return Tally(1, HOUR, Outcome.RECEIVED, "", count)


def stored(count: int) -> Tally:
    return Tally(1, HOUR, Outcome.STORED, "", count)


@given(receipts())
def test_any_order_and_split_completes_with_the_last_report(receipt: Receipt) -> None:
    account = Account(receipt.number)
    completed = []
    for report in receipt.reports:
        account.add(report)
        completed.append(account.is_complete)
    assert completed == [False] * (len(completed) - 1) + [True]


@given(receipts())
def test_the_sums_are_those_of_all_reports_in_a_fixed_order(receipt: Receipt) -> None:
    account = Account(receipt.number)
    for report in receipt.reports:
        account.add(report)
    assert account.tallies() == receipt.tallies()
    assert (account.receipt, account.source, account.start, account.end) == (receipt.number, "f", 0, receipt.end)
    assert account.parsed == account.read == receipt.messages


@given(receipts(), st.data())
def test_without_one_of_its_reports_a_receipt_is_never_complete(receipt: Receipt, data: st.DataObject) -> None:
    missing = data.draw(st.sampled_from(range(len(receipt.reports))))
    account = Account(receipt.number)
    for place, report in enumerate(receipt.reports):
        if place != missing:
            account.add(report)
            assert not account.is_complete


@given(receipts(), st.data())
def test_one_report_stands_for_any_others(receipt: Receipt, data: st.DataObject) -> None:
    """Also after it was stored in a log."""
    coder, account = StructCoder(Report), Account(receipt.number)
    for report in receipt.reports:
        account.add(report)
        if data.draw(st.booleans()):
            summed = coder.decode(coder.encode(account.report()))
            account = Account(receipt.number)
            account.add(summed)
    assert account.is_complete
    assert account.tallies() == receipt.tallies()
    assert (account.source, account.end, account.parsed, account.read) == ("f", receipt.end, receipt.messages, receipt.messages)


@pytest.mark.parametrize(
    "reports",
    [
        [Report(1, read=2), Report(1, [received(5)], parsed=1), Report(1, [stored(5)])],  # a message is still being parsed
        [Report(1, [received(5)], parsed=2), Report(1, [stored(5)])],  # more may be read
        [Report(1, read=1), Report(1, [received(5)], parsed=1), Report(1, [stored(4)])],  # an event is still at work
        [Report(1, read=1), Report(1, [received(5)], parsed=1), Report(1, [stored(6)])],  # one too many
        [Report(1, read=1), Report(1, [stored(5)])],
        [Report(1, read=1), Report(1, [received(5)], parsed=2), Report(1, [stored(5)])],  # more parsed than read
        [],
    ],
)
def test_what_does_not_balance_is_not_complete(reports: Sequence[Report]) -> None:
    account = Account(1)
    for report in reports:
        account.add(report)
    assert not account.is_complete


def test_a_receipt_of_nothing_is_complete_when_that_is_known() -> None:
    account = Account(1)
    account.add(Report(1, read=0, source="empty", start=5, end=5))
    assert account.is_complete
    assert account.tallies() == []
    assert (account.source, account.start, account.end) == ("empty", 5, 5)


def test_messages_without_events_are_complete_when_they_are_parsed() -> None:
    account = Account(1)
    for report in (Report(1, parsed=2), Report(1, read=3), Report(1, parsed=1)):
        assert not account.is_complete
        account.add(report)
    assert account.is_complete


@given(crowds())
def test_receipts_of_a_shard_complete_once_each_with_their_own_sums(crowd: tuple[dict[int, Receipt], list[Report]]) -> None:
    expected, reports = crowd
    left = {number: len(receipt.reports) for number, receipt in expected.items()}
    accounts = Accounts()
    for report in reports:
        account = accounts.add(report)
        left[report.receipt] -= 1
        assert (account is not None) is (left[report.receipt] == 0)
        if account is not None:
            assert account.receipt == report.receipt
            assert account.tallies() == expected[report.receipt].tallies()
    assert len(accounts) == 0
    assert accounts.reports() == []


@given(crowds(), st.data())
def test_open_accounts_can_be_written_down_and_taken_up_at_any_time(
    crowd: tuple[dict[int, Receipt], list[Report]], data: st.DataObject
) -> None:
    expected, reports = crowd
    accounts, completed = Accounts(), []
    for report in reports:
        if (account := accounts.add(report)) is not None:
            completed.append(account)
        if data.draw(st.booleans()):
            written = accounts.reports()
            assert len(written) == len(accounts)
            accounts = Accounts(written)
    assert sorted(account.receipt for account in completed) == sorted(expected)
    assert all(account.tallies() == expected[account.receipt].tallies() for account in completed)
