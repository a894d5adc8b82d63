"""`sluice audit`: prove from the tables that every event of every acknowledged receipt ended in one outcome, and is still there."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from transforms.retentions import dropped_before

HOUR = 3600  # seconds


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


class Scope(msgspec.Struct, frozen=True):
    """What is audited.

    Attributes:
        since, until: hours of arrival, `[since, until)`; seconds since 1970, which stand for the hour that they are in.
        team: one team, or None for all.
        grace: seconds for which a receipt may stay open before it counts as never finished.
    """

    since: int | None = None
    until: int | None = None
    team: int | None = None
    grace: int = 0

    def condition(self, time: str) -> str:
        """Return a condition on `team_id` and a column of times of arrival, or of their hours."""
        parts = [f"{time} >= toDateTime({self.since // HOUR * HOUR}, 'UTC')" if self.since is not None else ""]
        parts.append(f"{time} < toDateTime({self.until // HOUR * HOUR}, 'UTC')" if self.until is not None else "")
        parts.append(f"team_id = {self.team}" if self.team is not None else "")
        return " AND ".join(filter(None, parts)) or "1"


class Difference(msgspec.Struct, frozen=True):
    """Something that does not balance.

    Attributes:
        kind: `outcomes` (what they add up to is not what was received), `rows_missing` (stored, but not in `events`), `rows_added`
            (in `events`, but not stored by what was acknowledged), `letters_missing` and `letters_added` (the same of rejected events and
            `dead_letters`), `unknown_receipt` (rows of a receipt that was never opened), or `unfinished` (a range that was opened and never
            acknowledged; of a topic, if a later run began behind it).
        team_id, hour: whose events, and their hour of arrival, ISO 8601; None for `unfinished`.
        expected, found: numbers of events; positions for `unfinished`.
        source: what was not finished.
    """

    kind: str
    team_id: int | None
    hour: str | None
    expected: int
    found: int
    source: str = ""

    def __str__(self) -> str:
        if self.kind == "unfinished":
            return f"unfinished: {self.source} [{self.expected}, {self.found}) was opened and never acknowledged"
        change = self.found - self.expected
        return f"{self.kind}: team {self.team_id}, hour {self.hour}: {change:+d} (expected {self.expected}, found {self.found})"


class Audit(msgspec.Struct, frozen=True):
    """The result. The totals are of acknowledged receipts, `in_flight` counts receipts that may still be at work."""

    balanced: bool
    received: int
    stored: int
    duplicate: int
    limited: int
    rejected: int
    in_flight: int
    differences: list[Difference]


def audit(client: Reader, scope: Scope = Scope()) -> Audit:  # noqa: B008
    """Return the balance of the ledger and of `events` against it.

    Args:
        client: where the tables are.
        scope: what to look at. Ranges that were never finished count whatever the scope, since nobody knows what they hold.
    """
    hours = client.rows(
        _BY_HOUR.format(outcomes=scope.condition("hour"), rows=scope.condition("_timestamp"), dropped=dropped_before(client))
    )
    differences = [difference for row in hours for difference in _of_hour(*row)]
    unfinished, in_flight = _open_ranges(client, scope.grace)
    differences += unfinished
    received, stored, duplicate, limited, rejected = (sum(row[place] for row in hours) for place in range(2, 7))
    return Audit(not differences, received, stored, duplicate, limited, rejected, in_flight, differences)


LETTERS_KEPT = 27  # days: `dead_letters` keeps one more

# Per receipt first: what is missing in one must not cancel what is too much in another. A delivery that is doubled counts as one row,
# whether its rows are hidden, merged away, removed, or the one that stays.
_BY_HOUR = f"""
WITH doubled AS (
    SELECT _receipt, _offset, _index, team_id, toStartOfHour(toDateTime(_timestamp, 'UTC')) AS hour
    FROM (
        SELECT _receipt, _offset, _index, team_id, _timestamp FROM doubles WHERE {{rows}}
        UNION ALL SELECT _receipt, _offset, _index, team_id, _timestamp FROM unchecked_doubles WHERE {{rows}}
        UNION ALL SELECT _receipt, _offset, _index, team_id, _timestamp FROM lost_ids WHERE {{rows}} AND (team_id, uuid) IN (
            SELECT team_id, uuid FROM event_ids WHERE (SELECT count() FROM lost_ids) > 0 AND uuid IN (SELECT uuid FROM lost_ids)
                AND (inserted_at, _receipt, _offset, _index) NOT IN (SELECT inserted_at, _receipt, _offset, _index FROM lost_ids))
    ) GROUP BY _receipt, _offset, _index, team_id, hour
), entries AS (
    SELECT receipt, team_id, hour, outcome, toInt64(count) AS count FROM outcomes FINAL WHERE {{outcomes}}
    UNION ALL
    SELECT _receipt, team_id, toStartOfHour(toDateTime(_timestamp, 'UTC')) AS hour, 'found', toInt64(count())
    FROM events WHERE {{rows}} GROUP BY _receipt, team_id, hour
    UNION ALL
    SELECT _receipt, team_id, hour, 'found', toInt64(count()) FROM doubled GROUP BY _receipt, team_id, hour
    UNION ALL
    SELECT _receipt, team_id, toStartOfHour(toDateTime(_timestamp, 'UTC')) AS hour, 'found', -toInt64(count())
    FROM events WHERE {{rows}} AND (SELECT count() FROM doubled) > 0 AND _receipt IN (SELECT _receipt FROM doubled)
        AND (_receipt, _offset, _index) IN (SELECT _receipt, _offset, _index FROM doubled) GROUP BY _receipt, team_id, hour
    UNION ALL
    SELECT _receipt, team_id, toStartOfHour(toDateTime(_timestamp, 'UTC')) AS hour, 'letters', toInt64(sum(events))
    FROM dead_letters FINAL WHERE {{rows}} GROUP BY _receipt, team_id, hour
), states AS (
    SELECT receipt, toInt8(status) + 1 AS state, written_at > now() - INTERVAL {LETTERS_KEPT} DAY AS has_letters FROM receipts FINAL
), sums AS (
    SELECT receipt, team_id, hour, sumIf(count, outcome = 'received') AS received, sumIf(count, outcome = 'stored') AS stored,
        sumIf(count, outcome = 'duplicate') AS duplicate, sumIf(count, outcome = 'limited') AS limited,
        sumIf(count, outcome = 'rejected') AS rejected, sumIf(count, outcome = 'letters') AS letters,
        sumIf(count, outcome = 'found') AS found
    FROM entries GROUP BY receipt, team_id, hour
), sides AS (
    SELECT *, hour >= toDateTime({{dropped}}, 'UTC') AS is_kept, stored + duplicate + limited + rejected - received AS excess,
        if(is_kept, found - stored, 0) AS surplus, if(is_kept AND has_letters, letters - rejected, 0) AS letters_surplus
    FROM sums LEFT JOIN states USING (receipt)
)
SELECT team_id, toUnixTimestamp(hour) AS seconds,
    sumIf(received, state = 2) AS r, sumIf(stored, state = 2) AS s, sumIf(duplicate, state = 2) AS d,
    sumIf(limited, state = 2) AS l, sumIf(rejected, state = 2) AS j,
    sumIf(excess, state = 2 AND excess < 0) AS unreported, sumIf(excess, state = 2 AND excess > 0) AS overreported,
    sumIf(surplus, state = 2 AND surplus < 0) AS missing, sumIf(surplus, state = 2 AND surplus > 0) AS added,
    sumIf(found, state = 0 AND is_kept) AS unknown,
    sumIf(letters_surplus, state = 2 AND letters_surplus < 0) AS letters_missing,
    sumIf(letters_surplus, state = 2 AND letters_surplus > 0) AS letters_added
FROM sides
GROUP BY team_id, seconds ORDER BY seconds, team_id
SETTINGS join_use_nulls = 0
"""


def _of_hour(
    team: int, seconds: int, received: int, stored: int, _duplicate: int, _limited: int, rejected: int,
    unreported: int, overreported: int, missing: int, added: int, unknown: int, letters_missing: int, letters_added: int,
) -> Iterator[Difference]:  # fmt: skip
    hour = datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
    for difference in filter(None, (unreported, overreported)):
        yield Difference("outcomes", team, hour, received, received + difference)
    if missing:
        yield Difference("rows_missing", team, hour, stored, stored + missing)
    if added:
        yield Difference("rows_added", team, hour, stored, stored + added)
    if letters_missing:
        yield Difference("letters_missing", team, hour, rejected, rejected + letters_missing)
    if letters_added:
        yield Difference("letters_added", team, hour, rejected, rejected + letters_added)
    if unknown:
        yield Difference("unknown_receipt", team, hour, 0, unknown)


_OPEN = """
SELECT source, start, end, toInt8(status) AS is_done, dateDiff('second', written_at, now64(6)) AS age,
    toUnixTimestamp64Micro(written_at) AS at
FROM receipts FINAL
WHERE source IN (SELECT source FROM receipts FINAL WHERE status = 'open') ORDER BY source, start, end
"""


_HAS_POSITIONS = "SELECT 1 FROM system.tables WHERE database = currentDatabase() AND name = 'positions'"  # not before 0012
_BEGUN = "SELECT source, start, toUnixTimestamp64Micro(written_at) FROM positions"


class Range(NamedTuple):
    """A receipt's part of its source: `[start, end)`, seconds since it was opened or done, and when that was, microseconds since 1970."""

    start: int
    end: int
    is_done: bool
    age: int
    at: int

    @property
    def span(self) -> tuple[int, int]:
        """The positions."""
        return self.start, self.end


def _open_ranges(client: Reader, grace: int) -> tuple[list[Difference], int]:
    """Return what was opened and never finished, and how many open receipts may be at work still, or wait with the broker."""
    sources: dict[str, list[Range]] = {}
    for source, start, end, is_done, age, at in client.rows(_OPEN):
        sources.setdefault(source, []).append(Range(start, end, bool(is_done), age, at))
    begun: dict[str, list[tuple[int, int]]] = {}
    for source, start, at in client.rows(_BEGUN) if client.rows(_HAS_POSITIONS) else []:
        begun.setdefault(source, []).append((start, at))
    lost, waiting = [], 0
    for source, ranges in sources.items():
        if source.startswith("kafka://"):
            missing, at_work = of_topic(ranges, begun.get(source, []))
        else:
            judge = {"pubsub": of_subscription, "letters": of_subscription}.get(source.partition("://")[0], of_files)
            missing, at_work = judge(ranges, grace)
        waiting += at_work
        lost += [Difference("unfinished", None, None, part.start, part.end, source) for part in missing]
    return lost, waiting


def of_files(ranges: Sequence[Range], grace: int) -> tuple[list[Range], int]:
    """Return the ranges of a file that are lost, and how many are at work: what one run left open, a later one may have read."""
    done = [part.span for part in ranges if part.is_done]
    left = [part for part in ranges if not part.is_done and not is_covered(*part.span, done)]
    lost = [part for part in left if part.age >= grace]
    return lost, len(left) - len(lost)


def of_topic(ranges: Sequence[Range], begun: Sequence[tuple[int, int]]) -> tuple[list[Range], int]:
    """Return the ranges of a partition that are lost, and how many are at work or wait with the broker.

    A run begins at the group's offset, which moves only over what was acknowledged. So what is open is read again by the next run, and is
    lost only if a run began behind it: then the offset went past what nobody had acknowledged. That another job is further on, or has
    opened what comes later first, says nothing.

    Args:
        ranges: the partition's receipts.
        begun: where runs began, and when that was, microseconds since 1970.
    """
    lost, waiting = [], 0
    done = united([part.span for part in ranges if part.is_done])
    left = [part for part in ranges if not part.is_done and not is_covered(*part.span, done)]
    for part in left:
        passed = max((start for start, at in begun if at > part.at), default=0)
        if passed > part.start and not is_covered(part.start, min(part.end, passed), done):
            lost.append(part)
        elif not is_covered(*part.span, done + [other.span for other in left if other.at > part.at]):
            waiting += 1  # and else it was read again: the other one counts
    return lost, waiting


def united(parts: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the same positions in as few parts as possible, in order."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(parts):
        if found and low <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], high)
        else:
            found.append((low, high))
    return found


def of_subscription(ranges: Sequence[Range], grace: int) -> tuple[list[Range], int]:
    """Return nothing that is lost, and how many receipts may be at work: what is not acknowledged comes again, in other receipts.

    So it is with letters, too: those of a replay that ended early still wait.
    """
    return [], sum(not part.is_done and part.age < grace for part in ranges)


def is_covered(start: int, end: int, parts: Sequence[tuple[int, int]]) -> bool:
    """Return whether `[start, end)` lies in the union of `parts`: what one run left open, a later one may have read."""
    reached = start
    for low, high in sorted(parts):
        if low > reached:
            break
        reached = max(reached, high)
    return reached >= end and (start < end or any(low <= start <= high for low, high in parts))
