"""Quotas: how many events of an hour of arrival a team may still send, by what the tables and this process know."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Protocol

# Decisions that are remembered, so that a bundle that is run again is not charged twice.
MEMO = 200_000

TeamHour = tuple[int, int]  # team id; hour of arrival, seconds since 1970


class UsageTable(Protocol):
    """The table of stored events by team and hour; see transforms/limits/usage.py."""

    def read(self, team_hours: Iterable[TeamHour]) -> dict[TeamHour, int]:
        """Return how many events are stored, for those that have any."""


class Quotas:
    """Grant events to teams, hour by hour of arrival.

    Usage is what the tables show, or what this process has let through on top of what they once showed, whichever is more: exact in
    one process; with several it is over by what the others pass between two readings.

    Args:
        table: the stored events.
        refresh: seconds between two readings.
    """

    def __init__(self, table: UsageTable, refresh: float) -> None:
        self._table = table
        self._refresh = refresh
        self._used: dict[TeamHour, int] = {}
        self._active: set[TeamHour] = set()
        self._read_at = float("-inf")
        self._memo: OrderedDict[tuple[int, int, TeamHour], int] = OrderedDict()

    def grant(self, batch: tuple[int, int], team_hour: TeamHour, wanted: int, limit: int, now: float) -> int:
        """Return how many of `wanted` events may pass: the first ones.

        Args:
            batch: receipt and offset of the batch: asked again for the same, the answer is the same.
            team_hour: whose events, and when they arrived.
            wanted: how many there are in the batch.
            limit: how many the team may send in an hour.
            now: a monotonic clock, seconds.
        """
        memo = (*batch, team_hour)
        if (granted := self._memo.get(memo)) is None:
            used = self._usage(team_hour, now)
            granted = max(0, min(wanted, limit - used))
            self._used[team_hour] = used + granted
            self._remember(memo, granted)
        return granted

    def _usage(self, team_hour: TeamHour, now: float) -> int:
        if team_hour not in self._used:
            self._used[team_hour] = self._table.read([team_hour]).get(team_hour, 0)
        self._active.add(team_hour)
        if now >= self._read_at + self._refresh:
            for key, stored in self._table.read(self._active).items():
                self._used[key] = max(self._used[key], stored)
            self._active = {team_hour}
            self._read_at = now
        return self._used[team_hour]

    def _remember(self, memo: tuple[int, int, TeamHour], granted: int) -> None:
        self._memo[memo] = granted
        if len(self._memo) > MEMO:
            self._memo.popitem(last=False)
