"""A table and new keys for it come in, and the table with these keys goes out, with all of its rows.

ClickHouse alters neither partitions nor sorting key. So the rows are copied into a table beside it, both are compared over all columns, and
they are exchanged by one atomic statement, which views follow by name.

What was copied is not recorded but compared: whenever it was interrupted, by a kill of this process or of ClickHouse, the next run
compares, and copies what differs. Only the mark of a table that is done is kept: its comment, which is exchanged together with it.
"""

import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

from schemas.errors import ConfigError, SluiceError
from transforms.io.clickhouse import Client
from transforms.io.clickhouse.blocks import quoted

PIECE_ROWS = 2_000_000  # that are copied or compared by one statement, if they are of several days
ATTEMPTS = 3  # to copy a piece whose rows change meanwhile
QUIET_SECONDS = 120  # since a job was last at work
ROOM = 1.2  # disk space that a copy may take, and the merges of it, by what the table takes
_LAST = 2**32 - 1  # later than any day

Progress = Callable[[str, int, int], None]
"""Is told what is done with which table, the number of rows done, and of all."""

_STATEMENT = re.compile(r"REBUILD TABLE (\w+) BY (\w+)\s+(PARTITION BY .*)", re.DOTALL)
_ENGINE = re.compile(r"(.*?) (?:PARTITION|PRIMARY|ORDER) .*?(?: TTL (.*?))?(?: SETTINGS (.*))?", re.DOTALL)


def is_rebuild(statement: str) -> bool:
    """Return whether a statement of a migration is for `rebuild`."""
    return bool(_STATEMENT.fullmatch(statement))


def rebuild(client: Client, statement: str, mark: str, progress: Progress | None = None) -> None:
    """Give a table the keys that a statement says; columns, indexes, settings and the time to live stay.

    Args:
        client: where.
        statement: `REBUILD TABLE name BY column PARTITION BY ... [ORDER BY ...]`; the column is one of time that never changes.
        mark: tells the table that is done from the one that is not, as its comment.
        progress: is told of it.

    Raises:
        ConfigError: there is not enough space, or a job is at work.
        SluiceError: rows were changed meanwhile. Nothing is lost, and another run goes on with it.
    """
    found = _STATEMENT.fullmatch(statement)
    assert found, statement
    table, time, keys = found.groups()
    copy = _Copy(client, table, f"{table}_rebuilt", time, progress or (lambda *_: None))
    if _one(client, f"SELECT comment FROM system.tables WHERE database = currentDatabase() AND name = '{table}'") != mark:
        rows = copy.count(table)
        if rows:
            copy.check_quiet()
            copy.check_space()
        copy.create(keys, mark)
        copy.exchange(copy.fill() if rows else 0)
    client.command(f"DROP TABLE IF EXISTS {copy.name} SYNC SETTINGS max_table_size_to_drop = 0")


@dataclass
class _Copy:
    """A table and its copy. A piece of them is a range of days, both included, as numbers like 20261130."""

    client: Client
    table: str
    name: str
    time: str
    progress: Progress

    @cached_property
    def columns(self) -> str:
        """The columns that are stored and not made from others, whichever they are."""
        rows = self.client.rows(
            f"SELECT name FROM system.columns WHERE database = currentDatabase() AND table = '{self.table}'"
            " AND default_kind NOT IN ('MATERIALIZED', 'ALIAS', 'EPHEMERAL') ORDER BY position"
        )
        return ", ".join(quoted(name) for (name,) in rows)

    @cached_property
    def engine(self) -> re.Match[str]:
        """Engine, time to live and settings of the table, as ClickHouse writes them."""
        text = _one(self.client, f"SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '{self.table}'")
        found = _ENGINE.fullmatch(text)
        assert found, text
        return found

    def check_quiet(self) -> None:
        """Raise if a job is at work, which nobody else than this process can be in an embedded database.

        Raises:
            ConfigError: says since when.
        """
        if self.client.embedded:
            return
        ((jobs, age),) = self.client.rows(
            "SELECT count(), dateDiff('second', max(written_at), now64(6)) FROM receipts"
            f" WHERE written_at > now64(6) - INTERVAL {QUIET_SECONDS} SECOND"
        )
        if jobs or self.inserts():
            what = f"a job wrote {age} seconds ago" if jobs else "something inserts rows, another `sluice migrate` perhaps"
            raise ConfigError(
                f"{self.client.where}: {self.table} cannot be rebuilt while rows are inserted: {what}",
                f"stop all jobs, wait {QUIET_SECONDS} seconds, and run: sluice migrate --sink {shlex.quote(self.client.where)}",
            )

    def check_space(self) -> None:
        """Raise if the disks have no room for the copy.

        Raises:
            ConfigError: names both sizes.
        """
        size = "sumIf(bytes_on_disk, table = '{}')"
        ((ours, copied),) = self.client.rows(
            f"SELECT {size.format(self.table)}, {size.format(self.name)} FROM system.parts WHERE active AND database = currentDatabase()"
        )
        free = _one(self.client, "SELECT sum(free_space) FROM system.disks WHERE total_space > 0")
        needed = int(ROOM * ours) - copied
        if free and free < needed:
            raise ConfigError(
                f"{self.client.where}: {self.table} is copied once, which takes {_mib(needed)} MiB; {_mib(free)} MiB of the disk are free",
                "add space: the old table is dropped when the copy is complete",
            )

    def create(self, keys: str, mark: str) -> None:
        """Make the empty copy, unless a run before has made it. Nothing expires in it while it is compared."""
        engine, _, settings = self.engine.groups()
        if "ORDER BY" not in keys:
            primary, order = self.client.rows(
                f"SELECT primary_key, sorting_key FROM system.tables WHERE database = currentDatabase() AND name = '{self.table}'"
            )[0]
            keys = f"{keys} PRIMARY KEY ({primary}) ORDER BY ({order})"
        self.client.command(
            f"CREATE TABLE IF NOT EXISTS {self.name} AS {self.table} ENGINE = {engine} {keys}"
            f"{f' SETTINGS {settings}' if settings else ''} COMMENT '{mark}'"
        )
        if " TTL " in _one(
            self.client, f"SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = '{self.name}'"
        ):
            self.client.command(f"ALTER TABLE {self.name} REMOVE TTL")

    def fill(self) -> int:
        """Copy the pieces that differ until none does; return the number of rows that were compared.

        Raises:
            SluiceError: rows change all the time.
        """
        pieces = list(self.pieces())
        for _ in range(ATTEMPTS):
            wrong, compared = self.differing(pieces)
            if not wrong:
                return compared
            for done, (piece, rows) in enumerate(wrong):
                self.progress(f"copying {self.table}", sum(rows for _, rows in wrong[:done]), sum(rows for _, rows in wrong))
                self.copy(piece)
        raise SluiceError(f"{self.client.where}: rows of {self.table} change while they are copied: {self.hint}")

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Return the pieces, which are all of time: as many days as have `PIECE_ROWS` rows, or one."""
        starts, held = [0], 0
        for day, rows in self.client.rows(f"SELECT toYYYYMMDD({self.time}) AS day, count() FROM {self.table} GROUP BY day ORDER BY day"):
            if held and held + rows > PIECE_ROWS:
                starts, held = [*starts, day], 0
            held += rows
        return ((start, end - 1) for start, end in pairwise([*starts, _LAST + 1]))

    def differing(self, pieces: list[tuple[int, int]]) -> tuple[list[tuple[tuple[int, int], int]], int]:
        """Return the pieces that differ, each with its number of rows, and the number of all rows."""
        wrong, total = [], self.count(self.table)
        compared = 0
        for piece in pieces:
            rows, is_equal = self.compare(piece)
            compared += rows
            self.progress(f"comparing {self.table}", compared, total)
            if not is_equal:
                wrong.append((piece, rows))
        return wrong, compared

    def compare(self, piece: tuple[int, int]) -> tuple[int, bool]:
        """Return the number of rows of a piece, and whether the copy has them."""
        rows, copied = self.count(self.table, piece), self.count(self.name, piece)
        if copied > rows or bool(copied) != bool(rows):
            return rows, False
        if copied == rows and self.digest(self.table, piece) == self.digest(self.name, piece):
            return rows, True
        return rows, bool(rows) and "Replacing" in self.engine[1] and self.is_merged(piece)

    def digest(self, table: str, piece: tuple[int, int]) -> int:
        """Return a number that depends on every value of every row, and not on their order."""
        return int(_one(self.client, f"SELECT sumWithOverflow(sipHash64({self.columns})) FROM {table} WHERE {self.within(piece)}"))

    def is_merged(self, piece: tuple[int, int]) -> bool:
        """Return whether the copy lacks nothing but rows that a merge has replaced: it has each key, and no other row."""
        key = _one(self.client, f"SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = '{self.name}'")
        return not any(
            _one(
                self.client,
                f"SELECT count() FROM {left} WHERE {self.within(piece)}"
                f" AND sipHash128({of}) NOT IN (SELECT sipHash128({of}) FROM {right} WHERE {self.within(piece)})",
            )
            for left, right, of in ((self.table, self.name, key), (self.name, self.table, self.columns))
        )

    def copy(self, piece: tuple[int, int]) -> None:
        """Copy a piece in place of what the copy has of it."""
        if self.count(self.name, piece):
            self.client.command(f"ALTER TABLE {self.name} DELETE WHERE {self.within(piece)} SETTINGS mutations_sync = 2")
        self.client.command(
            f"INSERT INTO {self.name} ({self.columns}) SELECT {self.columns} FROM {self.table} WHERE {self.within(piece)}"
            " SETTINGS max_partitions_per_insert_block = 0, insert_deduplicate = 0"
        )

    def exchange(self, compared: int) -> None:
        """Put the copy in the table's place, and the table in the copy's.

        Raises:
            SluiceError: rows came since they were compared.
        """
        if self.inserts() or self.count(self.table) != compared:
            raise SluiceError(f"{self.client.where}: rows of {self.table} were inserted while it was copied: {self.hint}")
        if lifetime := self.engine[2]:
            self.client.command(f"ALTER TABLE {self.name} MODIFY TTL {lifetime}")
        self.client.command(f"EXCHANGE TABLES {self.table} AND {self.name}")
        if self.inserts() or self.count(self.name) > compared:
            late = f"{self.table}_late"
            self.client.command(f"RENAME TABLE {self.name} TO {late}")
            raise SluiceError(
                f"{self.client.where}: rows were inserted at the moment of the exchange: copy what {late} has and {self.table} has not"
            )

    @property
    def hint(self) -> str:
        """What to do when somebody writes."""
        return "stop all jobs, `sluice compact` and `sluice squash` too, and run `sluice migrate` again, which goes on with it"

    def inserts(self) -> int:
        """Return how many inserts are running."""
        return int(
            _one(self.client, "SELECT count() FROM system.processes WHERE query_kind = 'Insert' AND current_database = currentDatabase()")
        )

    def within(self, piece: tuple[int, int]) -> str:
        """Return the condition of a piece; both tables know the least and the greatest time in each part."""
        return f"toYYYYMMDD({self.time}) BETWEEN {piece[0]} AND {piece[1]}"

    def count(self, table: str, piece: tuple[int, int] = (0, _LAST)) -> int:
        """Return the number of rows of a piece, or of all."""
        return int(_one(self.client, f"SELECT count() FROM {table}" + (f" WHERE {self.within(piece)}" if piece != (0, _LAST) else "")))


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f}"


def _one(client: Client, sql: str) -> Any:
    return client.rows(sql)[0][0]
