"""Offsets of one partition: how far it was handed out, and up to where all of it is done."""

from collections import deque


class Offsets:
    """Track a partition's receipts: `[start, end)` each, one after the other.

    Args:
        start: where reading begins: everything before it is done.
    """

    def __init__(self, start: int) -> None:
        self.done = start
        """Everything before this offset is done: what is committed."""
        self.next = start
        """The offset that is handed out next."""
        self._open: deque[tuple[int, int, int]] = deque()  # start, end, receipt
        self._complete: set[int] = set()

    def hand_out(self, receipt: int, end: int) -> int:
        """Hand out a receipt up to `end`; return where it starts."""
        start, self.next = self.next, end
        self._open.append((start, end, receipt))
        return start

    def complete(self, receipt: int) -> None:
        """Mark a receipt as done."""
        self._complete.add(receipt)
        while self._open and self._open[0][2] in self._complete:
            _, self.done, receipt = self._open.popleft()
            self._complete.discard(receipt)

    def take_back(self, start: int) -> None:
        """Go back: what was handed out from `start` on is handed out again."""
        self.next = max(start, self.done)
        while self._open and self._open[-1][0] >= self.next:
            self._complete.discard(self._open.pop()[2])

    def skip_to(self, offset: int) -> None:
        """Go on at a later offset: the broker has deleted what lies before it."""
        self.next = max(self.next, offset)
        if not self._open:
            self.done = self.next
