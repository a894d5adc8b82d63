"""Clients of ClickHouse: a URL comes in, statements go out, rows come back; the same whether the engine is in the process or a server.

    chdb:PATH                                                     inside the process; chdb:PATH?durability=fsync
    clickhouse://user@host:port/database?password_env=VARIABLE    a server, by its native protocol; url.py has the rest

What a query returns:

| type | `rows` | `columns` |
|---|---|---|
| String | str; bytes that are not UTF-8 are surrogate escapes (`as_bytes` gives back the original) | bytes |
| FixedString(N) | bytes, all N of them | the same |
| DateTime, DateTime64 | datetime in UTC, exact to the microsecond, saturated to the years 1 to 9999 | the same |
| UUID, Date, Decimal, Bool, integers, floats | UUID, date, Decimal, bool, int, float | the same |
| Enum | str, its name | the same |
| LowCardinality(T), SimpleAggregateFunction(f, T) | as T | as T |
| Nullable(T), Array(T), Tuple(T, ...), Map(K, V) | None or as T, list, tuple, dict | the same, of the column's values |

All statements run with `session_timezone = 'UTC'`, so that SQL means the same on every machine.
"""

import threading
from collections.abc import Callable
from typing import Any, Protocol

import pyarrow as pa

from transforms.io.clickhouse.errors import QueryError
from transforms.io.clickhouse.native import as_bytes
from transforms.io.clickhouse.patience import Patience
from transforms.io.clickhouse.url import EmbeddedAt, ServerAt, parse

__all__ = ["Client", "Patience", "QueryError", "as_bytes", "close_all", "connect", "shared"]


class Client(Protocol):
    """Run statements on one database. Safe to use from many threads.

    Every method waits while ClickHouse cannot be reached or asks to come back later, for as long as the client's `Patience`.

    Raises:
        Unavailable: it did not answer, or not in time.
        ConfigError: wrong password, certificate, port, or path.
        QueryError: the statement was refused: a bug, or a schema that does not fit.
    """

    where: str
    """The URL without its password, for messages."""
    embedded: bool
    """Whether the engine is inside this process."""
    durability: str
    """What the URL says that tables must be: `none` or `fsync`; nothing if it says nothing."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows, with text as str."""

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns by name, with strings as bytes: for bulk reads. An empty result has its columns too."""

    def command(self, sql: str) -> None:
        """Run a statement that returns nothing: DDL, ALTER, INSERT ... SELECT. Once it was sent it is not tried again.

        Raises:
            Unavailable: it did not answer; the statement may have been run.
            QueryError: also for `INSERT ... VALUES`: use `insert`.
        """

    def insert(self, table: str, rows: pa.Table, token: str = "", left: Callable[[pa.Table], pa.Table] | None = None) -> None:
        """Insert all rows as one block, into the columns that they name.

        A block that is sent again with its token is stored once, also in the table's materialized views. The client does so by itself when
        it loses the connection, unless there is `left`: ClickHouse notes a token before the rows are there, and may die in between. Two
        calls without a token are two blocks, even if their rows are the same.

        Args:
            table: its name, with or without a database.
            rows: without nulls. binary(16) becomes a UUID where the column is one, most significant byte first; int8 an Enum8 by number;
                uint32 a DateTime in seconds.
            token: what a repeated insert is recognised by, in tables with a deduplication window.
            left: called before the insert is tried again, when no earlier attempt is at work any more: which of the rows are still to be
                inserted. They go by a token of their own.
        """

    def formatted(self, sql: str, output_format: str) -> bytes:
        """Return a query's result as text in one of ClickHouse's formats.

        Raises:
            ConfigError: the client does not know the format.
        """

    def close(self) -> None:
        """Close the connections. They open again when the client is used again."""


def connect(url: str, patience: Patience | None = None) -> Client:
    """Return a client for a URL; its connection opens when it is first used.

    Args:
        url: `chdb:PATH` or `clickhouse://user:password@host:port/database?secure=true&verify=false&ca_certs=FILE`.
        patience: how long to wait for a server that is away; a minute by default.

    Raises:
        ConfigError: the URL is not one of these.
    """
    return _open(parse(url), patience or Patience())


_lock = threading.Lock()
_shared: dict[EmbeddedAt | ServerAt, Client] = {}


def shared(url: str) -> Client:
    """Return this process's client for a URL: one, however often runners re-create the DoFns that ask for it."""
    target = parse(url)
    with _lock:
        if target not in _shared:
            _shared[target] = _open(target, Patience())
        return _shared[target]


def close_all() -> None:
    """Close the shared clients. They are not forgotten: what this process keeps beside them may open one again."""
    with _lock:
        for client in _shared.values():
            client.close()


def _open(target: EmbeddedAt | ServerAt, patience: Patience) -> Client:
    # Only what is used is imported: the embedded engine takes 300 MB and half a second.
    if isinstance(target, EmbeddedAt):
        from transforms.io.clickhouse.embedded import EmbeddedClient

        return EmbeddedClient(target, patience)
    from transforms.io.clickhouse.server import ServerClient

    return ServerClient(target, patience)
