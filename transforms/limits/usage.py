"""The table of stored events by team and hour of arrival."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from transforms.limits.quotas import TeamHour

MAX_READ = 2_000  # team hours a query: ClickHouse refuses queries of more than 256 KiB


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


class Usage:
    """Read `usage`.

    Args:
        client: where from.
    """

    def __init__(self, client: Reader) -> None:
        self._client = client

    def read(self, team_hours: Iterable[TeamHour]) -> dict[TeamHour, int]:
        """Return how many events are stored, for those that have any."""
        pending = list(team_hours)
        found: dict[TeamHour, int] = {}
        for start in range(0, len(pending), MAX_READ):
            found |= self._read(pending[start : start + MAX_READ])
        return found

    def _read(self, team_hours: Sequence[TeamHour]) -> dict[TeamHour, int]:
        wanted = ", ".join(f"({team}, {hour})" for team, hour in team_hours)
        rows = self._client.rows(
            "SELECT team_id, toUnixTimestamp(hour) AS seconds, sum(events) FROM usage"
            f" WHERE (team_id, toUnixTimestamp(hour)) IN ({wanted}) GROUP BY team_id, seconds"
        )
        return {(team, seconds): events for team, seconds, events in rows}
