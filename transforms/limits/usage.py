"""The table of stored events by team and hour of arrival."""

from collections.abc import Iterable
from typing import Any, Protocol

from transforms.limits.quotas import TeamHour


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
        wanted = ", ".join(f"({team}, {hour})" for team, hour in team_hours)
        rows = self._client.rows(
            "SELECT team_id, toUnixTimestamp(hour) AS seconds, sum(events) FROM usage"
            f" WHERE (team_id, toUnixTimestamp(hour)) IN ({wanted}) GROUP BY team_id, seconds"
        )
        return {(team, seconds): events for team, seconds, events in rows}
