"""The one real ClickHouse server that can be installed everywhere: Debian's 18.16.1.

It is for the driver's connections: refused, closed, restarted. It lacks DateTime64, codecs, Bool and insert deduplication.
"""

import itertools
import shutil
from pathlib import Path
from urllib.parse import quote
from xml.sax.saxutils import escape

import clickhouse_driver

from tests.servers.process import Server, free_port

_numbers = itertools.count(1)
_CONFIG = """\
<yandex>
  <logger>
    <level>warning</level>
    <console>1</console>
  </logger>
  <listen_host>127.0.0.1</listen_host>
  <tcp_port>{tcp}</tcp_port>
  <http_port>{http}</http_port>
  <path>{directory}/data/</path>
  <tmp_path>{directory}/tmp/</tmp_path>
  <users_config>{directory}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
  <timezone>UTC</timezone>
  <mark_cache_size>16777216</mark_cache_size>
  <mlock_executable>false</mlock_executable>
</yandex>
"""
_USERS = """\
<yandex>
  <profiles><default><max_memory_usage>2000000000</max_memory_usage></default></profiles>
  <users>
    <default>
      <password>{password}</password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
    </default>
  </users>
  <quotas><default /></quotas>
</yandex>
"""


class OldClickHouse(Server):
    """Run Debian's clickhouse-server.

    Args:
        password: of the user `default`.
    """

    stop_timeout = 0.5  # it would wait for all clients to leave

    def __init__(self, directory: Path, password: str = "") -> None:
        super().__init__(directory)
        self.http_port = free_port()
        self._password = password
        for name in ("data", "tmp"):
            (directory / name).mkdir(exist_ok=True)
        (directory / "config.xml").write_text(_CONFIG.format(tcp=self.port, http=self.http_port, directory=escape(str(directory))))
        (directory / "users.xml").write_text(_USERS.format(password=escape(password)))

    def command(self) -> list[str]:
        program = shutil.which("clickhouse-server", path="/usr/bin:/usr/sbin:/usr/local/bin")
        if program is None:
            raise RuntimeError("clickhouse-server is missing: apt-get install --no-install-recommends clickhouse-server")
        return [program, f"--config-file={self.directory / 'config.xml'}"]

    def url(self, database: str = "default", port: int | None = None) -> str:
        """Return the URL of a database, by the server's port or that of a proxy before it."""
        return f"clickhouse://default:{quote(self._password, safe='')}@127.0.0.1:{port or self.port}/{database}"

    def new_database(self) -> str:
        """Create a database and return its name."""
        name = f"test_{next(_numbers)}"
        with clickhouse_driver.Client("127.0.0.1", self.port, password=self._password) as client:
            client.execute(f"CREATE DATABASE {name}")
        return name
