"""The engine of a current ClickHouse behind the native protocol, in a process of its own; what it is good for stands in native_server."""

import itertools
import sys
from pathlib import Path
from urllib.parse import quote

import clickhouse_driver

from tests.servers.faults import Faults
from tests.servers.process import Server

_numbers = itertools.count(1)


class ClickHouseEngine(Server):
    """Serve a directory by the native protocol.

    Args:
        user, password: who is let in.
        certificate: a PEM file of certificate and key; the server speaks TLS if it is given.
    """

    def __init__(self, directory: Path, user: str = "default", password: str = "", certificate: Path | None = None) -> None:
        super().__init__(directory)
        self._user = user
        self._password = password
        self._certificate = certificate
        self._faults_file = directory / "faults.json"
        self.faults = Faults(self._faults_file)

    def command(self) -> list[str]:
        secret = [f"--user={self._user}", f"--password={self._password}"]
        tls = [f"--certificate={self._certificate}"] if self._certificate else []
        wrong = [f"--faults={self._faults_file}"]
        return [sys.executable, "-m", "tests.servers.native_server", str(self.port), str(self.directory / "data"), *secret, *tls, *wrong]

    def url(self, database: str = "default", port: int | None = None) -> str:
        """Return the URL of a database, by the server's port or that of a proxy before it."""
        user = f"{quote(self._user, safe='')}:{quote(self._password, safe='')}"
        return f"clickhouse://{user}@127.0.0.1:{port or self.port}/{database}{'?secure=true' if self._certificate else ''}"

    def new_database(self) -> str:
        """Create a database and return its name."""
        name = f"test_{next(_numbers)}"
        with clickhouse_driver.Client("127.0.0.1", self.port, user=self._user, password=self._password) as client:
            client.execute(f"CREATE DATABASE {name}")
        return name
