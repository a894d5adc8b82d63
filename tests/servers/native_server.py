"""Serve chdb by ClickHouse's native protocol: `python -m tests.servers.native_server PORT DIRECTORY`.

This is a test stand for the unmodified clickhouse-driver: the engine of ClickHouse 26.9 in a process of its own, which can be killed
and started again, behind as much of the protocol as the driver needs. What the engine does is real: SQL, types, deduplication,
materialized views, error codes and messages. What surrounds it is not: draw no conclusions from it about

- concurrency: one statement runs at a time;
- `system.processes`: of what waits, it shows the inserts that a fault holds;
- inserts: all blocks are collected and inserted together when the last one has come (a real server begins with the first);
- anything about compression, progress, profiles, logs, external tables, cancelling: there is none;
- users: there is one, who may do all.

Settings of a query are set for it and reset afterwards; unknown ones are ignored, as by a real server.

It does wrong what a file tells it to, for as long as the file says so: `--faults FILE`, see tests/servers/faults.py.
"""

import argparse
import re
import signal
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chdb.session import Session
from clickhouse_driver.block import BlockInfo
from clickhouse_driver.bufferedreader import BufferedSocketReader
from clickhouse_driver.reader import read_binary_str, read_binary_uint8
from clickhouse_driver.streams.native import BlockInputStream
from clickhouse_driver.varint import read_varint

from tests.servers.faults import Faults
from transforms.io.clickhouse.native import context

REVISION = 54429  # settings as strings; blocks without custom serialization
# What a client sends, and what it gets.
HELLO, QUERY, DATA, CANCEL, PING = 0, 1, 2, 3, 4
SERVER_HELLO, SERVER_DATA, EXCEPTION, PONG, END_OF_STREAM = 0, 1, 2, 4, 5
AUTHENTICATION_FAILED, UNKNOWN_SETTING, UNKNOWN = 516, 115, 1002

# INSERT ... SELECT does not recognise repeated rows by their content by default, as INSERT does.
_AS_ONE_BLOCK = (
    "max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 1000000000, min_insert_block_size_bytes = 0,"
    " deduplicate_insert_select = 'enable_even_for_bad_queries'"
)
_INSERT = re.compile(r"\s*INSERT\s+INTO\s+(?:TABLE\s+)?([\w.`\"]+)\s*(\([^()]*\))?\s*(?:VALUES|FORMAT\s+Native)\s*;?\s*", re.IGNORECASE)


def main() -> None:
    """Serve until SIGTERM."""
    options = _options()
    engine = Engine(options.directory)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        with socket.create_server(("127.0.0.1", options.port)) as listener:
            while True:
                client, _ = listener.accept()
                threading.Thread(target=_serve, args=(client, engine, options), daemon=True).start()
    finally:
        engine.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--user", default="default")
    parser.add_argument("--password", default="")
    parser.add_argument("--certificate", help="PEM file of certificate and key: speak TLS")
    parser.add_argument("--faults", type=Path, default=Path("no faults"), help="a file that says what to do wrong")
    return parser.parse_args()


class EngineError(Exception):
    """An error as a client gets it."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Engine:
    """The engine in this process: one statement at a time, each in a database and with settings of its own."""

    def __init__(self, directory: Path) -> None:
        self._session = Session(str(directory))
        self._lock = threading.Lock()
        self._held: dict[str, tuple[str, float]] = {}
        self.version = [int(part) for part in self._run("SELECT version()", "TSV").decode().split(".")[:3]]

    def close(self) -> None:
        """Wait for the statement that runs, and close the data."""
        with self._lock:
            self._session.close()

    @contextmanager
    def statement(self, database: str, settings: dict[str, str]) -> Iterator[None]:
        """Hold the engine for one statement."""
        with self._lock:
            self._run(f"USE `{database or 'default'}`")
            known = [name for name, value in settings.items() if self._set(name, value)]
            try:
                yield
            finally:
                for name in known:
                    self._run(f"SET {name} = DEFAULT")

    @contextmanager
    def held(self, query: str, sql: str) -> Iterator[None]:
        """Show an insert in `system.processes`, as a real server does from the moment that it has the statement."""
        self._held[query] = (sql, time.monotonic())
        try:
            yield
        finally:
            del self._held[query]

    def _processes(self) -> str:
        columns = "query_id, query, query_kind, elapsed"
        rows = [f"SELECT {columns} FROM system.processes"]
        for query, (sql, since) in list(self._held.items()):
            text = sql.replace("\\", "\\\\").replace("'", "\\'")
            rows.append(f"SELECT '{query}', '{text}', 'Insert', toFloat64({time.monotonic() - since})")
        return f"({' UNION ALL '.join(rows)})" if len(rows) > 1 else "system.processes"

    def select(self, sql: str) -> list[bytes]:
        """Return the blocks of a result, the first one without rows."""
        sql = sql.replace("system.processes", self._processes())
        native = self._run(sql)
        if native:
            blocks = _blocks(native)
            return [_header(blocks[0][1]), *(raw for raw, _ in blocks)]
        if re.match(r"\s*(SELECT|WITH)\b", sql, re.IGNORECASE):
            return [self.header(f"(\n{sql}\n)")]
        if re.match(r"\s*(SHOW|DESC|EXISTS|EXPLAIN)", sql, re.IGNORECASE):
            names, types = self._run(sql, "TSVWithNamesAndTypes").decode().splitlines()
            return [_header(list(zip(names.split("\t"), types.split("\t"), strict=True)))]
        return []

    def header(self, source: str) -> bytes:
        """Return the block without rows of a table or a subquery."""
        lines = self._run(f"DESCRIBE TABLE {source}", "TSVRaw").decode().splitlines()
        return _header([tuple(line.split("\t")[:2]) for line in lines])

    def insert(self, table: str, columns: str, native: bytes) -> None:
        """Insert blocks as one block. (chdb's streaming insert is no alternative: it keeps silent about errors of materialized views.)"""
        with tempfile.NamedTemporaryFile(suffix=".native") as file:
            file.write(native)
            file.flush()
            self._run(f"INSERT INTO {table} {columns} SELECT * FROM file('{file.name}', 'Native') SETTINGS {_AS_ONE_BLOCK}")

    def _set(self, name: str, value: str) -> bool:
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        try:
            self._run(f"SET {name} = '{quoted}'")
        except EngineError as error:
            if error.code != UNKNOWN_SETTING:
                raise
            return False
        return True

    def _run(self, sql: str, output_format: str = "Native") -> bytes:
        try:
            return bytes(self._session.query(sql, output_format).bytes())
        except RuntimeError as error:
            raise _typed(error) from None


def _typed(error: RuntimeError) -> EngineError:
    found = re.search(r"Code: (\d+)\. DB::Exception: (.*)", str(error), re.DOTALL)
    return EngineError(int(found[1]), found[2]) if found else EngineError(UNKNOWN, str(error))


class _Source:
    """A socket or bytes as the driver's reader takes it, which remembers what was read since `mark`."""

    def __init__(self, source: socket.socket | memoryview) -> None:
        self._source = source
        self._tape = bytearray()
        self.reader = BufferedSocketReader(self, 1 << 20)

    def recv_into(self, buffer: bytearray) -> int:
        if isinstance(self._source, socket.socket):
            size = self._source.recv_into(buffer)
        else:
            size = min(len(buffer), len(self._source))
            buffer[:size], self._source = self._source[:size], self._source[size:]
        self._tape += buffer[:size]
        return size

    def mark(self) -> None:
        del self._tape[: len(self._tape) - self._unread()]

    def since_mark(self) -> bytes:
        return bytes(self._tape[: len(self._tape) - self._unread()])

    def is_at_end(self) -> bool:
        return not self._unread() and not self._source

    def _unread(self) -> int:
        return int(self.reader.current_buffer_size - self.reader.position)


def _read_block(source: _Source) -> tuple[bytes, Any]:
    """Return a block of Native format as it came, and decoded."""
    source.mark()
    block = BlockInputStream(source.reader, context(text=False)).read()  # the driver's own fails at rubbish times
    return source.since_mark(), block


def _blocks(native: bytes) -> list[tuple[bytes, list[tuple[str, str]]]]:
    """Return the blocks of a result, each with its columns' names and types."""
    source = _Source(memoryview(native))
    blocks = []
    while not source.is_at_end():
        raw, block = _read_block(source)
        blocks.append((raw, block.columns_with_types))
    return blocks


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _string(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data)) + data


def _header(columns: Sequence[tuple[str, ...]]) -> bytes:
    return _varint(len(columns)) + _varint(0) + b"".join(_string(name) + _string(kind) for name, kind in columns)


@dataclass
class _Query:
    settings: dict[str, str]
    compressed: bool
    sql: str
    id: str


class _Connection:
    """One client's connection."""

    def __init__(self, client: socket.socket, engine: Engine, faults: Faults) -> None:
        self._client = client
        self._engine = engine
        self._faults = faults
        self._source = _Source(client)
        self._reader = self._source.reader
        self._database = ""

    def run(self, user: str, password: str) -> None:
        """Greet the client and answer until it leaves."""
        if self._greet(user, password):
            while True:
                self._answer(read_varint(self._reader))

    def _greet(self, user: str, password: str) -> bool:
        if read_varint(self._reader) != HELLO:
            raise ConnectionError("no hello")
        read_binary_str(self._reader)
        major, minor, _revision = (read_varint(self._reader) for _ in range(3))
        self._database, *given = (read_binary_str(self._reader) for _ in range(3))
        if given != [user, password]:
            text = f"{given[0]}: Authentication failed: password is incorrect, or there is no user with such name. (AUTHENTICATION_FAILED)"
            self._send_error(EngineError(AUTHENTICATION_FAILED, text))
            return False
        major, minor, patch = self._engine.version
        version = _varint(major) + _varint(minor) + _varint(REVISION)
        self._client.sendall(_varint(SERVER_HELLO) + _string("ClickHouse") + version + _string("UTC") + _string("chdb") + _varint(patch))
        return True

    def _answer(self, packet: int) -> None:
        if packet == PING:
            self._client.sendall(_varint(PONG))
        elif packet == QUERY:
            self._run(self._read_query())
        elif packet != CANCEL:
            raise ConnectionError(f"packet {packet}")

    def _read_query(self) -> _Query:
        reader = self._reader
        query_id = read_binary_str(reader)
        self._skip_client_info()
        settings = {}
        while name := read_binary_str(reader):
            read_binary_uint8(reader)  # flags
            settings[name] = read_binary_str(reader)
        read_varint(reader)  # stage
        query = _Query(settings, bool(read_varint(reader)), read_binary_str(reader), query_id)
        self._read_data()  # the end of external tables
        return query

    def _skip_client_info(self) -> None:
        reader = self._reader
        if read_binary_uint8(reader):  # kind
            for _ in range(3):  # initial user, query, address
                read_binary_str(reader)
            read_binary_uint8(reader)  # interface
            for _ in range(3):  # system user, host, client
                read_binary_str(reader)
            for _ in range(3):  # version and revision
                read_varint(reader)
            read_binary_str(reader)  # quota key
            read_varint(reader)  # patch

    def _read_data(self) -> tuple[bytes, Any]:
        if read_varint(self._reader) != DATA:
            raise ConnectionError("no data")
        read_binary_str(self._reader)  # external table
        BlockInfo().read(self._reader)
        return _read_block(self._source)

    def _run(self, query: _Query) -> None:
        try:
            if query.compressed:
                raise EngineError(UNKNOWN, "this server cannot decompress")
            self._faults.at_statement()
            if insert := _INSERT.fullmatch(query.sql):
                self._insert(insert[1], insert[2] or "", query)
            else:
                with self._engine.statement(self._database, query.settings):
                    blocks = self._engine.select(query.sql)
                self._send_data(blocks)
            self._client.sendall(_varint(END_OF_STREAM))
        except EngineError as error:
            self._send_error(error)

    def _insert(self, table: str, columns: str, query: _Query) -> None:
        source = f"(SELECT {columns[1:-1] or '*'} FROM {table})"
        with self._engine.statement(self._database, query.settings):
            header = self._engine.header(source)
        self._send_data([header])
        native = bytearray()
        while True:
            raw, block = self._read_data()
            if not block.num_columns:
                break
            native += raw
        if native:
            with self._engine.held(query.id, query.sql):
                self._hold_or_refuse(table)
            with self._engine.statement(self._database, query.settings):
                self._engine.insert(table, columns, bytes(native))

    def _hold_or_refuse(self, table: str) -> None:
        fault = self._faults.at_insert(table)
        if fault.refuse:
            raise EngineError(fault.refuse, fault.text)

    def _send_data(self, blocks: list[bytes]) -> None:
        info = _varint(1) + b"\0" + _varint(2) + struct.pack("<i", -1) + _varint(0)
        for block in blocks:
            self._client.sendall(_varint(SERVER_DATA) + _string("") + info + block)

    def _send_error(self, error: EngineError) -> None:
        message = struct.pack("<i", error.code) + _string("DB::Exception") + _string(f"DB::Exception: {error}") + _string("") + b"\0"
        self._client.sendall(_varint(EXCEPTION) + message)


def _serve(client: socket.socket, engine: Engine, options: argparse.Namespace) -> None:
    with client:
        try:
            if options.certificate:
                tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                tls.load_cert_chain(options.certificate)
                client = tls.wrap_socket(client, server_side=True)
            with client:
                _Connection(client, engine, Faults(options.faults)).run(options.user, options.password)
        except (EOFError, OSError) as error:
            print(f"connection ended: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
