"""Filters in, a condition on the view `letters` and the letters that it chooses out."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import msgspec

from schemas.errors import ConfigError
from schemas.reasons import Reason
from transforms.io.clickhouse.errors import QueryError
from transforms.io.clickhouse.statements import literal

SLICE = 200_000  # letters whose names are read at once


class Reader(Protocol):
    """What is used of a ClickHouse client; see transforms/io/clickhouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""


class Selection(msgspec.Struct, frozen=True):
    """Which letters are meant: those that pass all filters.

    Attributes:
        reasons: any of these; empty for all.
        step, team: the transform that rejected it; whose it is, 0 for those of no known team.
        since, until: of arrival, `[since, until)`, microseconds since 1970.
        text: stands in the body as it is stored, or in the detail.
        where: a condition on the columns of `letters`, from outside only as `checked` writes it.
        include_replayed: also those whose replay has gone well.
        limit: so many of them at most, those of the oldest day first.
    """

    reasons: tuple[str, ...] = ()
    step: str | None = None
    team: int | None = None
    since: int | None = None
    until: int | None = None
    text: str | None = None
    where: str | None = None
    include_replayed: bool = False
    limit: int | None = None

    def filters(self) -> str:
        """Return the condition of the filters, whatever the letters' status."""
        parts = [
            f"reason IN ({', '.join(map(literal, self.reasons))})" if self.reasons else "",
            f"step = {literal(self.step)}" if self.step is not None else "",
            f"team_id = {self.team}" if self.team is not None else "",
            f"_timestamp >= fromUnixTimestamp64Micro({self.since})" if self.since is not None else "",
            f"_timestamp < fromUnixTimestamp64Micro({self.until})" if self.until is not None else "",
            f"(position(body, {literal(self.text)}) > 0 OR position(detail, {literal(self.text)}) > 0)" if self.text else "",
            f"(\n{self.where}\n)" if self.where is not None else "",
        ]
        return " AND ".join(filter(None, parts)) or "1"

    def condition(self) -> str:
        """Return the condition of the letters that are meant. Those that failed again are not: what came of them is."""
        statuses = "('waiting', 'replayed')" if self.include_replayed else "('waiting')"
        return f"status IN {statuses} AND {self.filters()}"

    def replayable(self) -> str:
        """Return the condition of the letters that can be replayed: the rest of a file that cannot be read is no message."""
        return f"reason != {literal(Reason.UNREADABLE_FILE.value)} AND {self.condition()}"


# What reads files or other tables, makes several rows of one, waits, or fails: of the lines of EXPLAIN AST.
_BEYOND_A_ROW = re.compile(r"Function (file|dict\w+|joinGet\w*|arrayJoin|unnest|sleep\w*|throwIf|catboostEvaluate) ", re.IGNORECASE)


def checked(client: Reader, selection: Selection) -> Selection:
    """Return a selection whose `where`, if it has one, is one expression on the columns of `letters`, written by ClickHouse itself.

    Only that text gets into statements: an embedded engine runs several at once, and a condition of somebody else must not end one.

    Raises:
        ConfigError: it is not one expression, it reads a table or a file, it makes several rows of one, or its columns are not those of
            `letters`; with what ClickHouse says.
    """
    if selection.where is None:
        return selection
    try:
        where = _as_written(client, selection.where)
        tree = [row[0].strip() for row in client.rows(f"EXPLAIN AST SELECT {where}")]
        if any("TablesInSelectQuery" in node for node in tree):
            raise QueryError("it reads a table", code=0)
        if beyond := [found[1] for node in tree if (found := _BEYOND_A_ROW.match(node))]:
            raise QueryError(f"{beyond[0]} does more than to look at a letter", code=0)
        client.rows(f"SELECT 1 FROM letters WHERE {where} LIMIT 0")
    except QueryError as error:
        columns = ", ".join(row[0] for row in client.rows("DESCRIBE TABLE letters"))
        raise ConfigError(f"--where {selection.where!r} is no condition: {error}", f"write SQL on the columns {columns}") from None
    return msgspec.structs.replace(selection, where=where)


def _as_written(client: Reader, where: str) -> str:
    """Return an expression in brackets as ClickHouse writes it. It is parsed as the argument of a function: nothing of it is executed."""
    if not _is_utf8(where):
        raise QueryError("it is not UTF-8", code=0)
    # Alone and in brackets: "1) OR (1" is an expression only in brackets, and "1 FROM events" only alone.
    alone, bracketed = (literal(f"SELECT {text}") for text in (f"\n{where}\n", f"(\n{where}\n)"))
    ((_, once, again),) = client.rows(
        f"SELECT formatQuerySingleLine({alone}), formatQuerySingleLine({bracketed}) AS once, formatQuerySingleLine(once)"
    )
    if once != again:  # a statement that is written in another way than it is read could be another one
        raise QueryError(f"it cannot be written in one way: {once} or {again}", code=0)
    return f"({once.removeprefix('SELECT ')})"


def _is_utf8(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


class Chosen(NamedTuple):
    """A letter that is chosen: its day of arrival since 1970, its key in `dead_letters` (`_index` is `place`), and its size."""

    day: int
    team_id: int
    reason: str
    receipt: int
    offset: int
    place: int
    bytes: int


_ORDER = "toUInt32(toDate(_timestamp)), team_id, toString(reason), _receipt, _offset, _index"


def chosen(client: Reader, selection: Selection) -> Iterator[list[Chosen]]:
    """Yield the letters that a replay takes, many at once, those of the oldest day first."""
    after, left = "", selection.limit
    while size := SLICE if left is None else min(left, SLICE):
        rows = client.rows(
            f"SELECT {_ORDER}, bytes FROM letters WHERE {selection.replayable()}{after}"
            f" ORDER BY {_ORDER} LIMIT {size}"
        )  # fmt: skip
        found = [Chosen(*row) for row in rows]
        if found:
            yield found
        if len(found) < size:
            return
        last = found[-1]
        key = f"({last.day}, {last.team_id}, {literal(last.reason)}, {last.receipt}, {last.offset}, {last.place})"
        after = f" AND ({_ORDER}) > {key}"
        left = None if left is None else left - size
