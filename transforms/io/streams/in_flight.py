"""What was handed out and is not acknowledged yet: receipts in the order in which they were read."""

from collections.abc import Iterable
from typing import Generic, NamedTuple, TypeVar

What = TypeVar("What")


class Receipt(NamedTuple, Generic[What]):
    """A receipt in flight.

    Attributes:
        number: counts the receipts of a fetcher, from 1.
        since: monotonic seconds when it was handed out.
        what: how it is acknowledged.
    """

    number: int
    since: float
    what: What


class InFlight(Generic[What]):
    """Receipts by id, oldest first."""

    def __init__(self) -> None:
        self._receipts: dict[int, Receipt[What]] = {}

    def __len__(self) -> int:
        return len(self._receipts)

    def add(self, receipt: int, number: int, since: float, what: What) -> None:
        """Take in a receipt that is handed out now."""
        self._receipts[receipt] = Receipt(number, since, what)

    def all(self) -> list[tuple[int, Receipt[What]]]:
        """Return all, with their ids."""
        return list(self._receipts.items())

    def complete(self, receipts: Iterable[int]) -> list[tuple[int, What]]:
        """Forget receipts; return how those of them that were known are acknowledged."""
        found = [(receipt, self._receipts.pop(receipt, None)) for receipt in receipts]
        return [(receipt, known.what) for receipt, known in found if known is not None]

    def drop_after(self, number: int) -> list[tuple[int, What]]:
        """Forget what was handed out after the receipt of a number; return how it would have been acknowledged."""
        return self.complete([receipt for receipt, known in self._receipts.items() if known.number > number])

    def older_than(self, since: float) -> list[int]:
        """Return what was handed out before a moment, monotonic seconds."""
        return [receipt for receipt, known in self._receipts.items() if known.since < since]
