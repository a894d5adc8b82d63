"""The account of a receipt: what its reports add up to, and whether they balance."""

from collections import Counter
from collections.abc import Iterable

from schemas.outcomes import Outcome, Report, Tally


class Account:
    """The sum of a receipt's reports. Adding commutes, so that reports may come in any order."""

    def __init__(self, receipt: int) -> None:
        self.receipt = receipt
        self.parsed = 0
        self.read: int | None = None
        self.source = ""
        self.start = self.end = 0
        self.counts: Counter[tuple[int, int, int, str]] = Counter()
        self._open = 0  # events received but not yet dealt with; negative when outcomes came first

    def add(self, report: Report) -> None:
        """Add a report."""
        self.parsed += report.parsed
        if report.read is not None:
            self.read, self.source, self.start, self.end = report.read, report.source, report.start, report.end
        for tally in report.tallies:
            self.counts[tally.team_id, tally.hour, tally.outcome, tally.reason] += tally.count
            self._open += tally.count if tally.outcome == Outcome.RECEIVED else -tally.count

    @property
    def is_complete(self) -> bool:
        """Whether all was read, all that was read was parsed, and all that was parsed has an outcome."""
        return self.read == self.parsed and self._open == 0

    def report(self) -> Report:
        """Return one report that stands for all that were added."""
        return Report(self.receipt, self.tallies(), self.parsed, self.read, self.source, self.start, self.end)

    def tallies(self) -> list[Tally]:
        """Return the sums, in a fixed order."""
        return [Tally(*key, count) for key, count in sorted(self.counts.items())]


class Accounts:
    """The open accounts of one shard of receipts."""

    def __init__(self, reports: Iterable[Report] = ()) -> None:
        self._open: dict[int, Account] = {}
        for report in reports:
            self.add(report)

    def __len__(self) -> int:
        return len(self._open)

    def add(self, report: Report) -> Account | None:
        """Add a report; return its account if that is complete now, and forget it."""
        account = self._open.get(report.receipt)
        if account is None:
            account = self._open[report.receipt] = Account(report.receipt)
        account.add(report)
        if not account.is_complete:
            return None
        return self._open.pop(report.receipt)

    def reports(self) -> list[Report]:
        """Return one report an open account."""
        return [account.report() for account in self._open.values()]
