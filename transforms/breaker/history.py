"""The tables in, what a stream's teams usually send out: events a second that were accepted, by source and team."""

from typing import Any, Protocol

from transforms.breaker.rules import History
from transforms.io.clickhouse.statements import literal

LEAST_SECONDS = 10.0  # that a history stands for: two receipts make no rate
MOST_TEAMS = 1_000  # of a source: the largest

# The day before the last event that was accepted, however long ago that is: while the breaker is open, none are.
_ACCEPTED = """
SELECT source, team_id, sum(events) AS accepted, toUnixTimestamp64Micro(min(first)) AS began, toUnixTimestamp64Micro(max(last)) AS ended
FROM (
    SELECT source, team_id, sum(count) AS events, min(done) AS first, max(done) AS last, max(last) OVER () AS newest
    FROM outcomes INNER JOIN (
        SELECT receipt, source, max(written_at) AS done FROM receipts
        WHERE status = 'acknowledged' AND {stream} AND written_at > now() - INTERVAL 14 DAY GROUP BY receipt, source
    ) AS known USING (receipt)
    WHERE outcome NOT IN ('received', 'rejected')
    GROUP BY source, team_id, toStartOfHour(done)
)
WHERE last > newest - INTERVAL 24 HOUR
GROUP BY source, team_id ORDER BY accepted DESC LIMIT {teams} BY source
"""


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


def stream_of(source: str) -> str:
    """Return what is judged as one: a topic with all of its partitions, or a subscription."""
    return source.rpartition("/")[0] if source.startswith("kafka://") else source


def read_history(client: Reader, stream: str) -> History:
    """Return how many events a second of each team were accepted from each source of a stream, in the day before the last one."""
    mine = f"startsWith(source, {literal(stream + '/')})" if stream.startswith("kafka://") else f"source = {literal(stream)}"
    rows = client.rows(_ACCEPTED.format(stream=mine, teams=MOST_TEAMS))
    times: dict[str, tuple[int, int]] = {}
    for source, _, _, began, ended in rows:
        first, last = times.get(source, (began, ended))
        times[source] = min(first, began), max(last, ended)
    history: dict[str, dict[int, float]] = {source: {} for source in times}
    for source, team, events, _, _ in rows:
        first, last = times[source]
        history[source][team] = events / max(LEAST_SECONDS, (last - first) / 1e6)
    return history
