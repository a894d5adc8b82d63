"""ClickHouse inside this process, by chdb: one directory of data, one statement at a time.

What chdb 4.4 does, found by trying: a process can have one directory open at a time, several times if it likes, and another one
after it; two processes cannot have the same one; and when two queries run at once, `Python(name)` may read another thread's variable.
"""

import fcntl
import os
import re
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from schemas.errors import ConfigError, SluiceError
from transforms.activity import outside
from transforms.io.clickhouse import blocks
from transforms.io.clickhouse.errors import UNKNOWN_FORMAT, QueryError, by_code, code_in, summary
from transforms.io.clickhouse.native import decode
from transforms.io.clickhouse.patience import Patience
from transforms.io.clickhouse.sending import Sending
from transforms.io.clickhouse.statements import literal, refuse_values
from transforms.io.clickhouse.url import EmbeddedAt

if TYPE_CHECKING:
    from chdb.session import Session

# One for the process, not for the client.
_engine = threading.RLock()


class EmbeddedClient:
    """A `Client` of the engine in this process; see there.

    Args:
        target: where the data is.
        patience: how long to try again when the disk is full or memory short.
    """

    embedded = True

    def __init__(self, target: EmbeddedAt, patience: Patience) -> None:
        self.where = target.where
        self.durability = target.durability
        self._path = target.path
        self._patience = patience
        self._session: Session | None = None
        self._known_types: dict[str, dict[str, str]] = {}  # of tables that were inserted into: nobody else can alter them

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        _, columns = decode(self._patiently(sql, "Native"), text=True)
        return list(zip(*columns, strict=True))

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns."""
        names, columns = decode(self._patiently(sql, "Native"), text=False)
        return dict(zip(names, columns, strict=True)) if names else {name: [] for name in self._names(sql)}

    def command(self, sql: str) -> None:
        """Run a statement."""
        refuse_values(sql)
        self._known_types.clear()
        with outside():
            self._run(sql, "Native", f"statement {summary(sql)!r}")

    def insert(self, table: str, rows: pa.Table, token: str = "", left: Callable[[pa.Table], pa.Table] | None = None) -> None:
        """Insert all rows as one block."""
        blocks.refuse_nulls(rows)
        sending = Sending(table, rows, token, left)
        self._patience.persist(lambda: self._send(sending))

    def formatted(self, sql: str, output_format: str) -> bytes:
        """Return a query's result in any of ClickHouse's formats."""
        try:
            return self._patiently(sql, output_format)
        except QueryError as error:
            if error.code != UNKNOWN_FORMAT:
                raise
        raise ConfigError(f"unknown format {output_format!r}", "TSV, CSVWithNames, JSONEachRow, PrettyCompact, or another of ClickHouse's")

    def close(self) -> None:
        """Close the database."""
        with _engine:
            if self._session is not None:
                self._session.close()
                self._session = None

    def _send(self, sending: Sending) -> None:
        if rows := sending.next():
            table, what = sending.table, sending.what
            block, select = _block(rows, self._types(table, what) if blocks.may_be_uuids(rows) else {})
            settings = _settings(rows, sending.token)
            self._run(
                f"INSERT INTO {table} ({blocks.names(rows)}) SELECT {select} FROM Python(block) SETTINGS {settings}", "Native", what, block
            )

    def _types(self, table: str, what: str) -> dict[str, str]:
        if (found := self._known_types.get(table)) is None:
            _, (names, types, *_) = decode(self._patience.persist(lambda: self._run(f"DESCRIBE TABLE {table}", "Native", what)), text=True)
            found = self._known_types[table] = dict(zip(names, types, strict=True))
        return found

    def _names(self, sql: str) -> list[str]:
        """Return the names of the columns of a query without a result, for which the engine says nothing at all."""
        try:
            return [row[0] for row in self.rows(f"DESCRIBE TABLE (\n{sql}\n)")]
        except QueryError:
            return []  # not a SELECT

    def _patiently(self, sql: str, output_format: str) -> bytes:
        return self._patience.persist(lambda: self._run(sql, output_format, f"query {summary(sql)!r}"))

    def _run(self, sql: str, output_format: str, what: str, block: pa.Table | None = None) -> bytes:  # noqa: ARG002
        """Return the result of a statement, which can read the rows of `block` as `Python(block)`: the engine looks the variable up."""
        with _engine:
            session = self._opened()
            try:
                return bytes(session.query(sql, output_format).bytes())
            except RuntimeError as error:
                text = str(error)
        raise by_code(code_in(text), self.where, what, text)

    def _opened(self) -> "Session":
        if self._session is None:
            self._session = _open(self._path)
        return self._session


def _block(rows: pa.Table, types: dict[str, str]) -> tuple[pa.Table, str]:
    """Return the rows as the engine can take them, and what to select of them for columns of these types."""
    uuids = {name for name in rows.column_names if blocks.is_uuid(rows[name], types.get(name, ""))}
    arrays = [blocks.swapped(rows[name]) if name in uuids else rows[name] for name in rows.column_names]
    # Without nulls: Nullable columns cost a tenth more.
    schema = pa.schema([pa.field(field.name, field.type, nullable=False) for field in rows.schema])
    quoted = {name: blocks.quoted(name) for name in rows.column_names}
    select = [f"reinterpret({quoted[name]}, 'UUID')" if name in uuids else quoted[name] for name in rows.column_names]
    return pa.Table.from_arrays(arrays, schema=schema), ", ".join(select)


def _settings(rows: pa.Table, token: str) -> str:
    """Return settings by which the rows are one block, as a token is for one. A second thread would cost as much as it saves."""
    return (
        f"insert_deduplication_token = {literal(token)}, deduplicate_blocks_in_dependent_materialized_views = 1,"
        f" max_partitions_per_insert_block = 0, max_threads = 1, max_insert_threads = 1,"
        f" min_insert_block_size_rows = {rows.num_rows}, min_insert_block_size_bytes = 0"
    )


def _open(path: str) -> "Session":
    """Return a session on a directory, which is made if it is absent.

    Raises:
        ConfigError: it cannot be written, or is in use.
    """
    _check_writable(path)
    _check_free(path)
    from chdb.session import Session

    try:
        session = Session(path)
    except RuntimeError as error:
        raise _cannot_open(path, str(error)) from None
    session.query("SET session_timezone = 'UTC'")
    return session


def _check_writable(path: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)  # it will hold customers' events
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        problem = f"chdb:{path}: cannot write there: {error.strerror}"
    else:
        return
    raise ConfigError(problem, "name a directory that this user can write to, or can make")


def _check_free(path: str) -> None:
    """Raise if another process has the directory open. The engine keeps a lock on the file `status`, which tells the process."""
    with suppress(FileNotFoundError), open(os.path.join(path, "status"), "rb") as status:
        owner = status.read(100).split(b"\n")[0].removeprefix(b"PID: ").decode(errors="replace")
        if owner != str(os.getpid()) and _is_locked(status.fileno()):
            hint = "one process at a time can use the directory: wait for the other, or use a server"
            raise ConfigError(f"chdb:{path}: in use by process {owner}", hint)


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _cannot_open(path: str, text: str) -> SluiceError:
    if found := re.search(r"already initialized with path '(.*?)', cannot connect", text):
        hint = "one process can use one directory at a time: close the other client first"
        return ConfigError(f"chdb:{path}: this process has chdb:{found[1]} open", hint)
    hint = "is it in use elsewhere, or the directory of something else?"
    return ConfigError(f"chdb:{path}: cannot be opened: {text.splitlines()[0][:300]}", hint)
