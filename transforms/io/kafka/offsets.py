"""Offsets of one partition: how far it was handed out, and up to where all of it is done."""

from collections import deque
from typing import NamedTuple

UNKNOWN = -1  # the leader epoch of a position that nobody knows it of


class Committed(NamedTuple):
    """Where a group stands in a partition.

    Attributes:
        offset: everything before it is done.
        epoch: the leader epoch of the last message before it, by which a broker knows whether that message is still there.
        receipt: the last one that is done; 0 for none.
    """

    offset: int
    epoch: int = UNKNOWN
    receipt: int = 0


class _Open(NamedTuple):
    receipt: int
    start: int
    end: int
    epoch: int
    oldest: int


class Offsets:
    """Track a partition's receipts: `[start, end)` each, one after the other.

    Args:
        start: where reading begins: everything before it is done.
    """

    def __init__(self, start: Committed) -> None:
        self.done = start
        """Everything before this is done: what is committed."""
        self.next = start.offset
        """The offset that is handed out next."""
        self._open: deque[_Open] = deque()
        self._complete: set[int] = set()
        self._reached = 0

    @property
    def oldest(self) -> int:
        """When the first message that was handed out and is not done came, microseconds since 1970; 0 if all are done."""
        try:
            return self._open[0].oldest
        except IndexError:
            return 0

    def hand_out(self, receipt: int, end: int, epoch: int = UNKNOWN, oldest: int = 0) -> int:
        """Hand out a receipt up to `end`; return where it starts."""
        start, self.next = self.next, end
        self._open.append(_Open(receipt, start, end, epoch, oldest))
        return start

    @property
    def position(self) -> tuple[int, str, int] | tuple[int]:
        """Return `next`, for a TopicPartition; with the leader epoch of the message before it, if that is known."""
        last = self._open[-1] if self._open else None
        end, epoch = (last.end, last.epoch) if last is not None else (self.done.offset, self.done.epoch)
        return (self.next, "", epoch) if self.next == end and epoch != UNKNOWN else (self.next,)

    def complete(self, receipt: int) -> None:
        """Mark a receipt as done. One that is not known was taken back, or is of before the partition was begun anew."""
        if all(receipt != each.receipt for each in self._open):
            return
        self._complete.add(receipt)
        while self._open and self._open[0].receipt in self._complete:
            first = self._open.popleft()
            self._complete.discard(first.receipt)
            self.done = Committed(max(first.end, self.done.offset), first.epoch, first.receipt)
        self._pass_over()

    def take_back(self, receipt: int) -> None:
        """Go back: this receipt and what was handed out after it is handed out again. One that is not known changes nothing."""
        if all(receipt != each.receipt for each in self._open):
            return
        self._reached = 0
        while True:
            last = self._open.pop()
            self._complete.discard(last.receipt)
            if last.receipt == receipt:
                break
        self.next = max(last.start, self.done.offset)

    def reach(self, offset: int) -> None:
        """Take note that there is nothing to read between what was handed out and an offset: the broker keeps other things there.

        The next receipt begins where the last one ended all the same, so that receipts have no gaps.
        """
        self._reached = offset
        self._pass_over()

    def skip_to(self, offset: int) -> None:
        """Go on at a later offset: the broker has deleted what lies before it."""
        self.next = max(self.next, offset)
        self.reach(offset)

    def _pass_over(self) -> None:
        if not self._open and self._reached > self.done.offset:
            self.done = self.done._replace(offset=self._reached, epoch=UNKNOWN)
