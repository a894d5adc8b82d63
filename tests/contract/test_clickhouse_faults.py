"""What a client of a server does when the server is refused, slow, killed, or lets nobody in."""

import datetime
import ipaddress
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pytest
from clickhouse_driver.errors import UnexpectedPacketFromServerError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.errors import ConfigError, SluiceError, Unavailable
from tests.contract.test_clickhouse import counts, events
from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.clickhouse_old import OldClickHouse
from tests.servers.process import free_port
from tests.servers.proxy import Proxy
from transforms.io.clickhouse import Patience, QueryError, connect
from transforms.io.clickhouse.server import ServerClient
from transforms.io.clickhouse.url import ServerAt, parse
from transforms.io.migrate import migrate
from transforms.sink.stored import StoredEvents

PASSWORD = "s3cr3t/pass@word?"
ONE = pa.table({"n": pa.array([1], pa.uint64())})
SIMPLE = "CREATE TABLE t (n UInt64, s String) ENGINE = MergeTree ORDER BY n"
# Bytes after which a client is inside the block of the large insert below: what comes before it is less than 2 KB.
INSIDE = 100_000
_clients: list[ServerClient] = []


class Time:
    """A clock that moves when somebody sleeps, and calls `then` at each sleep."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self._then = then

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)
        self._then()

    def patience(self, seconds: float = 60) -> Patience:
        return Patience(seconds, self.sleep, lambda: self.now)


def large() -> pa.Table:
    return pa.table({"n": pa.array(np.arange(1000, dtype=np.uint64)), "s": ["x" * 1000] * 1000})


def client_of(url: str, patience: Patience | None = None, answer_timeout: float = 20) -> ServerClient:
    target = parse(url)
    assert isinstance(target, ServerAt)
    client = ServerClient(target, patience or Patience(20), answer_timeout)
    _clients.append(client)
    return client


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _clients:
        _clients.pop().close()


def everything_about(error: BaseException) -> str:
    """Return all that could be printed of an error and of those chained to it."""
    texts = ["".join(traceback.format_exception(error))]
    while error is not None:
        texts += [str(error), repr(error), repr(error.args), repr(vars(error))]
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return "\n".join(texts)


@pytest.fixture
def own_engine(tmp_path: Path) -> Iterator[ClickHouseEngine]:
    with ClickHouseEngine(tmp_path / "own", password=PASSWORD) as server:
        yield server


@pytest.fixture(params=[ClickHouseEngine, OldClickHouse])
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ClickHouseEngine | OldClickHouse]:
    with request.param(tmp_path / "own", password=PASSWORD) as server:
        yield server


# Away.


def test_a_server_that_refuses_is_waited_for_and_then_unavailable() -> None:
    time, port = Time(), free_port()
    client = client_of(f"clickhouse://me:{quote(PASSWORD, safe='')}@127.0.0.1:{port}/db", time.patience(60))

    for call, what in [
        (lambda: client.insert("events", ONE), "insert of 1 rows into events"),
        (lambda: client.rows("SELECT 1 FROM t"), "query 'SELECT 1 FROM t'"),
        (lambda: client.columns("SELECT 1 FROM t"), "query 'SELECT 1 FROM t'"),
        (lambda: client.command("DROP TABLE t"), "statement 'DROP TABLE t'"),
        (lambda: client.formatted("SELECT 1 FROM t", "CSV"), "SELECT 1 FROM t"),
    ]:
        start = time.now
        with pytest.raises(Unavailable) as caught:
            call()
        text = str(caught.value)
        assert f"127.0.0.1:{port}" in text
        assert what in text
        assert "Connection refused" in text
        assert "attempts in 60 s" in text
        assert 59 <= time.now - start <= 61
        assert PASSWORD not in everything_about(caught.value)
        # The driver's frames hold the password: tools that print variables must not reach them.
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None


def test_waits_grow_and_differ() -> None:
    waits = []
    for _ in range(2):
        time = Time()
        with pytest.raises(Unavailable):
            client_of(f"clickhouse://127.0.0.1:{free_port()}/db", time.patience(60)).insert("events", ONE)
        waits.append(time.slept)

    assert waits[0] != waits[1]
    for slept in waits:
        assert max(slept[:3]) <= 1
        assert 2 < max(slept) <= 10
        assert 8 < len(slept) < 40


def test_a_server_that_hangs_is_unavailable(own_server: ClickHouseEngine | OldClickHouse) -> None:
    client = client_of(own_server.url(), Patience(0), answer_timeout=0.3)
    assert client.rows("SELECT 1") == [(1,)]

    own_server.pause()
    for waiting in (client, client_of(own_server.url(), Patience(0), answer_timeout=0.3)):
        with pytest.raises(Unavailable, match="did not answer to the query 'SELECT 2': timed out"):
            waiting.rows("SELECT 2")
        waiting.close()
    own_server.resume()

    assert client.rows("SELECT 3") == [(3,)]


def test_an_idle_connection_that_the_server_closed_is_opened_again(own_server: ClickHouseEngine | OldClickHouse) -> None:
    client = client_of(own_server.url(), Patience(0))
    client.command(SIMPLE)

    for stop in (own_server.stop, own_server.kill):
        stop()
        own_server.start()
        client.insert("t", large())
        stop()
        own_server.start()
        client.command("INSERT INTO t SELECT 5000, 'a'")

    assert client.rows("SELECT count() FROM t") == [(2002,)]


def test_an_insert_waits_for_a_killed_server(own_server: ClickHouseEngine | OldClickHouse) -> None:
    client = client_of(own_server.url(), Time(own_server.start).patience())
    client.command(SIMPLE)

    own_server.kill()
    client.insert("t", large())

    assert client.rows("SELECT count(), uniq(n) FROM t") == [(1000, 1000)]


def test_a_command_waits_for_a_killed_server(own_server: ClickHouseEngine | OldClickHouse) -> None:
    client = client_of(own_server.url(), Time(own_server.start).patience())
    client.command(SIMPLE)

    own_server.kill()
    client.command("INSERT INTO t SELECT 1, 'a'")

    assert client.rows("SELECT count() FROM t") == [(1,)]


def test_a_connection_that_lost_its_place_is_opened_again(engine_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time()
    client = client_of(engine_url, time.patience())
    assert client.rows("SELECT 1") == [(1,)]
    (driver,) = client._idle
    ping, errors = driver.connection.ping, iter([UnexpectedPacketFromServerError("expected Pong, got Data")])

    def lost_at_first() -> bool:
        for error in errors:
            raise error
        return bool(ping())

    monkeypatch.setattr(driver.connection, "ping", lost_at_first)
    old = driver.connection.socket

    assert client.rows("SELECT 2") == [(2,)]

    assert len(time.slept) == 1
    assert driver.connection.socket is not old


@pytest.mark.parametrize("times", [1, 3])
def test_an_insert_that_is_cut_in_the_middle_is_sent_again(own_server: ClickHouseEngine | OldClickHouse, times: int) -> None:
    with Proxy(own_server.port) as proxy:
        left = iter(range(times - 1))
        time = Time(lambda: proxy.break_once(INSIDE, "request") if next(left, None) is not None else None)
        client = client_of(own_server.url(port=proxy.port), time.patience())
        client.command(SIMPLE)

        proxy.break_once(INSIDE, "request")
        client.insert("t", large())

        assert len(time.slept) == times
        assert client.rows("SELECT count(), uniq(n) FROM t") == [(1000, 1000)]


def test_a_server_killed_in_the_middle_of_an_insert_gets_it_again(own_server: ClickHouseEngine | OldClickHouse) -> None:
    with Proxy(own_server.port) as proxy:
        client = client_of(own_server.url(port=proxy.port), Time(own_server.start).patience())
        client.command(SIMPLE)

        proxy.break_once(INSIDE, "request", then=own_server.kill)
        client.insert("t", large())

        assert client.rows("SELECT count(), uniq(n) FROM t") == [(1000, 1000)]


@pytest.mark.parametrize("token", ["", "mine"])
@pytest.mark.parametrize("killed", [False, True])
def test_an_insert_whose_answer_is_lost_is_stored_once(own_engine: ClickHouseEngine, killed: bool, token: str) -> None:
    with Proxy(own_engine.port) as proxy:
        time = Time(own_engine.start if killed else lambda: None)
        client = client_of(own_engine.url(port=proxy.port), time.patience())
        migrate(client)
        rows = events(5000)

        stored = StoredEvents(client)
        proxy.break_once(INSIDE, "reply", then=own_engine.kill if killed else lambda: None)
        stored.insert("events", rows, token)

        assert len(time.slept) == 1
        assert counts(client) == (5000, 5000, 5000)


def test_a_command_that_was_sent_is_not_sent_again(own_engine: ClickHouseEngine) -> None:
    with Proxy(own_engine.port) as proxy:
        time = Time()
        client = client_of(own_engine.url(port=proxy.port), time.patience())
        client.command("CREATE TABLE t (s String) ENGINE = MergeTree ORDER BY s")

        proxy.break_once(INSIDE, "reply")
        with pytest.raises(Unavailable, match=r"statement .INSERT INTO t SELECT"):
            client.command(f"INSERT INTO t SELECT '{'x' * INSIDE}'")

        assert time.slept == []
        assert client.rows("SELECT count() FROM t") == [(1,)]


def test_a_query_whose_answer_is_lost_is_asked_again(own_server: ClickHouseEngine | OldClickHouse) -> None:
    with Proxy(own_server.port) as proxy:
        time = Time()
        client = client_of(own_server.url(port=proxy.port), time.patience())

        proxy.break_once(INSIDE, "reply")
        rows = client.rows(f"SELECT length('{'x' * INSIDE}')")

        assert rows == [(INSIDE,)]
        assert len(time.slept) == 1


# Later.


def test_a_query_that_may_work_later_is_tried_again(engine: ClickHouseEngine) -> None:
    time = Time()
    client = client_of(engine.url(), time.patience())
    sql = "SELECT throwIf(1, 'too many parts', toInt16({})) SETTINGS allow_custom_error_code_in_throwif = 1"

    with pytest.raises(Unavailable, match=r"cannot do the query .SELECT throwIf.* now: .*\(code 252\)"):
        client.rows(sql.format(252))
    assert len(time.slept) > 5

    with pytest.raises(QueryError, match=r"refused the query .SELECT throwIf.*\(code 395\)"):
        client.rows(sql.format(395))


@pytest.mark.parametrize("place", ["chdb_url", "engine_url"])
def test_an_insert_that_was_put_off_is_stored_once(request: pytest.FixtureRequest, place: str) -> None:
    url = request.getfixturevalue(place)
    other = connect(url)
    time = Time(lambda: other.insert("gate", pa.table({"open": pa.array([1], pa.uint8())})) if len(time.slept) == 3 else None)
    client = connect(url, time.patience())
    migrate(client)
    client.command("CREATE TABLE gate (open UInt8) ENGINE = MergeTree ORDER BY open")
    client.command("CREATE TABLE last (n UInt32) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 10")
    client.command(
        "CREATE MATERIALIZED VIEW last_mv TO last AS SELECT _index AS n FROM events"
        " WHERE throwIf((SELECT count() FROM gate) = 0, 'no space', toInt16(243)) = 0 SETTINGS allow_custom_error_code_in_throwif = 1"
    )

    client.insert("events", events(100))

    assert len(time.slept) == 3
    assert counts(client) == (100, 100, 100)
    assert client.rows("SELECT count() FROM last") == [(100,)]
    client.close()
    other.close()


# Not let in.


def test_a_wrong_password_is_told_without_it(own_server: ClickHouseEngine | OldClickHouse) -> None:
    time = Time()
    right = client_of(own_server.url(), time.patience())
    wrong = client_of(f"clickhouse://default:{quote(PASSWORD[:-1], safe='')}@127.0.0.1:{own_server.port}", time.patience())

    assert right.rows("SELECT 1") == [(1,)]
    with pytest.raises(ConfigError, match=r"did not let us in: .*\nhint: check user and password") as caught:
        wrong.rows("SELECT 1")

    assert str(own_server.port) in str(caught.value)
    assert PASSWORD[:-1] not in everything_about(caught.value)
    assert time.slept == []


def test_an_unknown_database_is_told(engine: ClickHouseEngine, old_server: OldClickHouse) -> None:
    for server in (engine, old_server):
        client = client_of(server.url("absent"))
        with pytest.raises(ConfigError, match=r"absent.*\nhint: create the database"):
            client.rows("SELECT 1")


def test_a_port_of_something_else_is_told() -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n")
            connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        web = threading.Thread(target=answer)
        web.start()
        with pytest.raises(ConfigError, match=r"does not speak ClickHouse's native protocol: .*\nhint: name the native port: 9000"):
            client_of(f"clickhouse://127.0.0.1:{listener.getsockname()[1]}").rows("SELECT 1")
        web.join()


def test_a_token_that_a_server_cannot_honour_is_refused(old_url: str) -> None:
    client = client_of(old_url)
    client.command("CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")

    client.insert("t", ONE)
    with pytest.raises(ConfigError, match=r"18\.16\.1.*cannot recognise a repeated insert"):
        client.insert("t", ONE, token="one")

    assert client.rows("SELECT count() FROM t") == [(1,)]


# TLS.


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a PEM file of a key and its certificate for 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(pem + signed.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture(scope="module")
def tls_engine(tmp_path_factory: pytest.TempPathFactory, certificate: Path) -> Iterator[ClickHouseEngine]:
    with ClickHouseEngine(tmp_path_factory.mktemp("tls_engine"), certificate=certificate) as server:
        yield server


@pytest.mark.parametrize("trust", ["ca_certs", "verify=false"])
def test_a_server_is_reached_by_tls(tls_engine: ClickHouseEngine, certificate: Path, trust: str) -> None:
    client = client_of(tls_engine.url() + ("&verify=false" if trust == "verify=false" else f"&ca_certs={certificate}"))
    client.command("CREATE OR REPLACE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n")

    client.insert("t", ONE)

    assert client.rows("SELECT n FROM t") == [(1,)]


def test_a_certificate_that_is_not_trusted_is_told(tls_engine: ClickHouseEngine) -> None:
    client = client_of(tls_engine.url(), Patience(5))

    with pytest.raises(ConfigError, match=r"is not trusted: .*CERTIFICATE_VERIFY_FAILED.*\nhint: name its authority: ca_certs=FILE"):
        client.rows("SELECT 1")


def test_tls_to_a_server_without_it_is_told(old_server: OldClickHouse) -> None:
    client = client_of(f"clickhouse://127.0.0.1:{old_server.port}?secure=true", Patience(0))

    with pytest.raises(ConfigError, match=f"127.0.0.1:{old_server.port} does not speak ClickHouse's native protocol: .*SSL"):
        client.rows("SELECT 1")


# Use.


def test_threads_do_not_wait_for_each_other(old_server: OldClickHouse) -> None:
    client = client_of(old_server.url())
    done: list[str] = []
    slow = threading.Thread(target=lambda: done.append(f"slow {client.rows('SELECT sleep(2)')}"))
    slow.start()

    client.rows("SELECT 1")
    done.append("fast")
    slow.join()

    assert done == ["fast", "slow [(0,)]"]


def test_typed_errors_are_of_one_tree() -> None:
    assert issubclass(QueryError, SluiceError)
    assert not issubclass(QueryError, Unavailable | ConfigError)
