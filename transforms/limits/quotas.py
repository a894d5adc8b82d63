"""Quotas: how many events of an hour of arrival a team may still send, by what the tables and this process know."""

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Any, Protocol

import msgspec

# Decisions that are remembered, so that a bundle that is run again is not charged twice.
MEMO = 200_000
# Hours of teams whose usage is remembered. What was not asked for since so many others were is in the table by then.
TEAM_HOURS = 100_000

TeamHour = tuple[int, int]  # team id; hour of arrival, seconds since 1970
Delivery = tuple[int, int, int]  # receipt, offset and index: one delivery of one event


class UsageTable(Protocol):
    """The table of stored events by team and hour; see transforms/limits/usage.py."""

    def read(self, team_hours: Iterable[TeamHour]) -> dict[TeamHour, int]:
        """Return how many events are stored, for those that have any."""


class _Usage(msgspec.Struct):
    events: int = 0
    read_at: float = 0.0


class Quotas:
    """Grant events to teams, hour by hour of arrival. Safe to use from many threads.

    Usage is what the tables show, or what this process has let through on top of what they once showed, whichever is more: exact in
    one process; with several it is over by what the others pass between two readings.

    Args:
        table: the stored events.
        refresh: seconds for which a reading of a team's hour is good.
    """

    def __init__(self, table: UsageTable, refresh: float) -> None:
        self._table = table
        self._refresh = refresh
        self._lock = Lock()
        self._usage: OrderedDict[TeamHour, _Usage] = OrderedDict()
        self._expected: set[TeamHour] = set()
        self._memo: OrderedDict[tuple[Delivery, TeamHour], int] = OrderedDict()

    def expect(self, team_hours: Iterable[TeamHour]) -> None:
        """Announce whose quotas will be asked for, so that one reading serves all of them."""
        with self._lock:
            self._expected.update(team_hours)

    def grant(self, first: Delivery, team_hour: TeamHour, wanted: int, limit: int, now: float) -> int:
        """Return how many of `wanted` events may pass: the first ones.

        Args:
            first: the first of these events: asked again for the same, the answer is the same.
            team_hour: whose events, and when they arrived.
            wanted: how many there are in the batch.
            limit: how many the team may send in an hour.
            now: a monotonic clock, seconds.
        """
        memo = (first, team_hour)
        with self._lock:
            granted = self._memo.get(memo)
            if granted is None:
                usage = self._of(team_hour, now)
                granted = max(0, min(wanted, limit - usage.events))
                usage.events += granted
                self._memo[memo] = granted
                _shrink(self._memo, MEMO)
        return granted

    def _of(self, team_hour: TeamHour, now: float) -> _Usage:
        usage = self._usage.get(team_hour)
        self._expected.add(team_hour)
        if usage is None or now >= usage.read_at + self._refresh:
            self._read_expected(now)
        self._usage.move_to_end(team_hour)
        _shrink(self._usage, TEAM_HOURS)
        return self._usage[team_hour]

    def _read_expected(self, now: float) -> None:
        """Read what was asked for, or announced, since the last reading."""
        stored = self._table.read(self._expected)
        for team_hour in self._expected:
            usage = self._usage.setdefault(team_hour, _Usage())
            usage.events = max(usage.events, stored.get(team_hour, 0))
            usage.read_at = now
        self._expected.clear()


def _shrink(remembered: OrderedDict[Any, Any], size: int) -> None:
    while len(remembered) > size:
        remembered.popitem(last=False)
