"""Fixtures of databases; each test gets one that is empty."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.clickhouse_engine import ClickHouseEngine
from tests.servers.clickhouse_old import OldClickHouse
from tests.servers.kafka import Kafka
from tests.servers.pubsub import PubSub
from transforms.io.clickhouse import Client, close_all, shared
from transforms.io.migrate import migrate


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Close the embedded database after each module: a process has one open, and which module comes next is not said."""
    yield
    close_all()


@pytest.fixture
def chdb_url(tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty embedded database. A process has one open at a time: use `shared`, or close what you `connect`."""
    close_all()
    yield f"chdb:{tmp_path / 'chdb'}"
    close_all()


@pytest.fixture(scope="session")
def _tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an embedded database with tables: to copy it takes a fifth of the time in which they are made."""
    folder = tmp_path_factory.mktemp("tables") / "chdb"
    close_all()
    migrate(shared(f"chdb:{folder}"))
    close_all()
    return folder


@pytest.fixture
def sink(_tables: Path, chdb_url: str) -> str:
    """Return the URL of an embedded database with the tables of now, which are empty. It is used as that of `chdb_url`."""
    shutil.copytree(_tables, chdb_url.removeprefix("chdb:"), symlinks=True)
    return chdb_url


@pytest.fixture
def client(sink: str) -> Client:
    """Return a client of the embedded database of `sink`."""
    return shared(sink)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseEngine]:
    """Return the session's server with a current engine. Do not stop it: start your own for that."""
    with ClickHouseEngine(tmp_path_factory.mktemp("engine")) as server:
        yield server


@pytest.fixture
def engine_url(engine: ClickHouseEngine) -> Iterator[str]:
    """Return the URL of an empty database on a server with a current engine."""
    yield engine.url(engine.new_database())
    close_all()


@pytest.fixture(scope="session")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldClickHouse]:
    """Return the session's real server, which is old. Do not stop it: start your own for that."""
    with OldClickHouse(tmp_path_factory.mktemp("old")) as server:
        yield server


@pytest.fixture
def old_url(old_server: OldClickHouse) -> Iterator[str]:
    """Return the URL of an empty database on a real server, which is old."""
    yield old_server.url(old_server.new_database())
    close_all()


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    """Return the session's broker. Do not stop it: start your own for that."""
    with Kafka(tmp_path_factory.mktemp("kafka")) as server:
        yield server


@pytest.fixture(scope="session")
def pubsub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PubSub]:
    """Return the session's emulator of Pub/Sub, which clients find by the environment. Do not stop it."""
    with PubSub(tmp_path_factory.mktemp("pubsub")) as server:
        os.environ["PUBSUB_EMULATOR_HOST"] = server.address
        yield server
        del os.environ["PUBSUB_EMULATOR_HOST"]
