"""ClickHouse as a server, by clickhouse-driver over the native protocol."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pyarrow as pa
from clickhouse_driver import errors as driver_errors
from clickhouse_driver.defines import DBMS_MIN_REVISION_WITH_SETTINGS_SERIALIZED_AS_STRINGS as MODERN

from schemas.errors import ConfigError, SluiceError, Unavailable
from transforms.activity import outside
from transforms.io.clickhouse import blocks, formats
from transforms.io.clickhouse.errors import QueryError, by_code, summary, without
from transforms.io.clickhouse.native import Driver
from transforms.io.clickhouse.patience import Patience
from transforms.io.clickhouse.sending import Sending
from transforms.io.clickhouse.statements import bare, literal, refuse_values
from transforms.io.clickhouse.url import ServerAt

_T = TypeVar("_T")
# Seconds. Answers to long statements come late: DDL and mutations send nothing until they are done.
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 10, 300
# Seconds until a silent connection is probed, between probes, and the number of probes: a dead host is noticed after 90 s.
_KEEPALIVE = (60, 10, 3)
_NO_CLICKHOUSE = ("expected Hello or Exception", "WRONG_VERSION_NUMBER")
_NOT_TRUSTED = ("CERTIFICATE_VERIFY_FAILED", "[X509")

# Errors after which a new connection may do.
_LOST = (
    OSError,
    EOFError,
    driver_errors.NetworkError,
    driver_errors.SocketTimeoutError,
    driver_errors.UnexpectedPacketFromServerError,
    driver_errors.UnknownPacketFromServerError,
)

# The driver logs each failed attempt with a traceback; `Patience` logs it in a line.
logging.getLogger("clickhouse_driver.connection").addFilter(lambda record: record.levelno >= logging.ERROR)


class ServerClient:
    """A `Client` of a server; see there. Each thread that is inside a call has a connection of its own; they are kept and used again.

    Args:
        target: how the server is reached.
        patience: how long to wait for it when it is away.
        answer_timeout: seconds without a byte from the server after which a connection counts as dead.
    """

    embedded = False

    def __init__(self, target: ServerAt, patience: Patience, answer_timeout: float = ANSWER_TIMEOUT) -> None:
        self.where = target.where
        self.durability = target.durability
        self._target = target
        self._patience = patience
        self._answer_timeout = answer_timeout
        self._lock = threading.Lock()
        self._idle: list[Driver] = []

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        _, values = self._read(sql, text=True)
        return list(zip(*values, strict=True))

    def columns(self, sql: str) -> dict[str, list[Any]]:
        """Return a query's columns."""
        columns, values = self._read(sql, text=False)
        return {name: list(column) for (name, _), column in zip(columns, values or [()] * len(columns), strict=True)}

    def command(self, sql: str) -> None:
        """Run a statement."""
        refuse_values(sql)
        what = f"statement {summary(sql)!r}"
        with outside(), self._driver() as driver:
            self._patience.persist(lambda: self._attempt(driver, what, lambda: self._revive(driver)))
            self._attempt(driver, what, lambda: driver.execute(sql, settings=_settings(driver)))

    def insert(self, table: str, rows: pa.Table, token: str = "", left: Callable[[pa.Table], pa.Table] | None = None) -> None:
        """Insert all rows as one block."""
        blocks.refuse_nulls(rows)
        if rows.num_rows:
            sending = Sending(table, rows, token, left)
            with self._driver() as driver:
                self._patience.persist(lambda: self._attempt(driver, sending.what, lambda: self._send(driver, sending, bool(token))))

    def formatted(self, sql: str, output_format: str) -> bytes:
        """Return a query's result as text, formatted by the server."""
        return formats.formatted(self._read, bare(sql), output_format)

    def close(self) -> None:
        """Close the connections that are not in use."""
        with self._lock:
            while self._idle:
                self._idle.pop().disconnect()

    def _read(self, sql: str, text: bool) -> formats.Result:
        """Return names and types of a result's columns, and their values; none of these if it is empty."""
        refuse_values(sql)
        what = f"query {summary(sql)!r}"
        with self._driver() as driver:
            return self._patience.persist(lambda: self._attempt(driver, what, lambda: self._query(driver, sql, text)))

    def _send(self, driver: Driver, sending: Sending, must_recognise: bool) -> None:
        """Insert once, recognisable by a token, if the server can tell."""
        self._revive(driver)
        if must_recognise and not _is_modern(driver):
            version = _version(driver)
            raise ConfigError(f"ClickHouse {version} at {self._target.address}: cannot recognise a repeated insert", "use a newer version")
        if sending.looks:
            self._refuse_running(driver, sending)
        if rows := sending.next():
            quorum = {"insert_quorum": self._target.insert_quorum} if self._target.insert_quorum else {}
            settings = _settings(driver, insert_deduplication_token=sending.token, **_INSERT, **quorum)
            driver.insert(sending.table, rows, settings, sending.query)

    def _refuse_running(self, driver: Driver, sending: Sending) -> None:
        """Raise if the attempt that was begun last is at work still.

        Raises:
            Unavailable: it is.
        """
        ((running,),) = driver.execute(f"SELECT count() FROM system.processes WHERE query_id = {literal(sending.query)}")
        if running:
            raise Unavailable(f"ClickHouse at {self._target.address} is still at work on the {sending.what}")

    def _query(self, driver: Driver, sql: str, text: bool) -> formats.Result:
        self._revive(driver)
        driver.read_text(text)
        values, columns = driver.execute(sql, columnar=True, with_column_types=True, settings=_settings(driver))
        return columns, values

    def _revive(self, driver: Driver) -> None:
        """Open the driver's connection if it is not, with the password as it is now."""
        connection = driver.connection
        if not (connection.connected and connection.ping()):
            connection.password = self._target.password.read()
            connection.connect()

    @contextmanager
    def _driver(self) -> Iterator[Driver]:
        """Lend a driver, which nobody else uses meanwhile."""
        with self._lock:
            driver = self._idle.pop() if self._idle else self._new_driver()
        try:
            yield driver
        finally:
            with self._lock:
                self._idle.append(driver)

    def _new_driver(self) -> Driver:
        target = self._target
        return Driver(
            target.host,
            target.port,
            target.database,
            target.user,
            client_name="sluice",
            connect_timeout=min(CONNECT_TIMEOUT, self._answer_timeout),
            send_receive_timeout=self._answer_timeout,
            sync_request_timeout=min(CONNECT_TIMEOUT, self._answer_timeout),
            secure=target.secure,
            verify=target.verify,
            ca_certs=target.ca_certs or None,
            tcp_keepalive=_KEEPALIVE,
            client_revision=MODERN,  # what is tested: no columns in sparse form, no events in the middle of an insert
        )

    def _attempt(self, driver: Driver, what: str, action: Callable[[], _T]) -> _T:
        """Return what `action` returns, or leave the connection and raise the typed form of its error.

        It is raised outside of the handler: the driver's error and its traceback, which hold the password, are not chained to it.
        """
        try:
            return action()
        except (driver_errors.Error, OSError, EOFError) as error:
            driver.disconnect()
            problem = self._typed(what, error, driver.connection.password)
        raise problem

    def _typed(self, what: str, error: Exception, password: str) -> SluiceError:
        where = self._target.address
        text = without(getattr(error, "message", None) or str(error), password)
        if isinstance(error, driver_errors.ServerException):
            return by_code(error.code, where, what, text)
        if any(sign in text for sign in _NO_CLICKHOUSE):
            return ConfigError(
                f"{where} does not speak ClickHouse's native protocol: {text}",
                "name the native port: 9000, or 9440 with secure=true; not 8123, which is HTTP's",
            )
        if any(sign in text for sign in _NOT_TRUSTED):
            return ConfigError(f"ClickHouse at {where} is not trusted: {text}", "name its authority: ca_certs=FILE, or verify=false")
        if isinstance(error, _LOST):
            late = isinstance(error, TimeoutError | driver_errors.SocketTimeoutError)
            return Unavailable(f"ClickHouse at {where} did not answer to the {what}: {'timed out' if late else text or 'connection lost'}")
        return QueryError(f"ClickHouse at {where}, {what}: {text}", getattr(error, "code", None) or 0)


# A block is written at once, whatever the server's defaults are. Rubbish timestamps of one team make many partitions.
_INSERT = {"async_insert": 0, "max_partitions_per_insert_block": 0, "deduplicate_blocks_in_dependent_materialized_views": 1}


def _settings(driver: Driver, **settings: Any) -> dict[str, Any]:
    """Return the settings of a statement: a server ignores those it does not know, but one from before 2020 gets none."""
    return {"session_timezone": "UTC", **settings} if _is_modern(driver) else {}


def _is_modern(driver: Driver) -> bool:
    return bool(driver.connection.server_info.used_revision >= MODERN)


def _version(driver: Driver) -> str:
    return ".".join(map(str, driver.connection.server_info.version_tuple()))
