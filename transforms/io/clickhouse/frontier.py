"""The frontier: up to which moment the rows of `events` are final; and the time of rows, which never goes back (DESIGN 11).

`inserted_at` is the start of an insert: while one is at work, rows may still appear that were inserted long ago by the clock. So the
frontier is ClickHouse's clock or, if earlier, the start of the oldest insert into `events` that is still at work. Views' rows belong to
the insert, so it covers them.

ClickHouse's clock may be set back. The time of rows is the clock or, if later, what the tables say that it has been: the last word of a
run, and the last moment that was verified. Whoever inserts asks for it first, and stamps the rows with it if the clock is behind.
"""

from typing import Any, NamedTuple, Protocol


class Reader(Protocol):
    """What is used of a ClickHouse client."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


class Moment(NamedTuple):
    """The time of rows; microseconds since 1970.

    Attributes:
        clock: what ClickHouse's clock says.
        verified: the last moment that was verified.
        heard: the last moment that any run or verification was heard of.
    """

    clock: int
    verified: int
    heard: int

    @property
    def now(self) -> int:
        """The time of rows that are inserted now, at least."""
        return max(self.clock, self.heard)

    @property
    def is_behind(self) -> bool:
        """Whether the clock was set back."""
        return self.clock < self.heard


class Frontier(NamedTuple):
    """Up to when rows are final; microseconds since 1970.

    Attributes:
        moment: rows with an earlier `inserted_at` are there, or never will be.
        running: inserts into `events` that are at work.
        moves: whether it is beyond what was verified last. It stands still while ClickHouse's clock is behind that and inserts are at work.
    """

    moment: int
    running: int
    moves: bool


_MOMENT = """
SELECT toUnixTimestamp64Micro(now64(6)) AS clock, toUnixTimestamp64Micro((SELECT max(verified) FROM verifications)) AS verified,
    greatest(verified, toUnixTimestamp64Micro((SELECT max(last_written) FROM runs))) AS heard
"""
# Of any database, and whatever stands before the name: too many hold the frontier back, too few would make it lie.
_RUNNING = r"""
SELECT count(), toInt64(max(elapsed) * 1000000) FROM system.processes
WHERE query_kind = 'Insert' AND match(query, '(?is)^\\s*insert\\s+into\\s+(table\\s+)?([`"\\w]+\\.)?[`"]?events[`"]?(\\W|$)')
"""


def moment(client: Reader) -> Moment:
    """Return the time of rows."""
    ((clock, verified, heard),) = client.rows(_MOMENT)
    return Moment(clock, verified, heard)


def frontier(client: Reader) -> Frontier:
    """Return up to when the rows of `events` and its views are final.

    The clock is read first: an insert that begins after that gets a later `inserted_at`, and one that was at work is seen, or done.
    """
    now = moment(client)
    ((running, elapsed),) = client.rows(_RUNNING)
    found = now.clock - elapsed - 1 if running else now.now
    return Frontier(max(found, now.verified), running, found > now.verified)
