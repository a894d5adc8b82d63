"""Benthos, which Redpanda Connect is built on: its file input, `mapping`, `dedupe` with a cache in memory, `http_client`.

Its core has no output for ClickHouse, so the embedded engine listens to HTTP in a process of its own, and inserts the JSON lines that are
posted. CPU time and memory of both processes count. Benthos parses an event for its id and passes it on as it is, and ClickHouse picks the
columns: having `mapping` make the row took a third more.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from benchmarks.rows import Job, Load, Unavailable, Usage
from runners.process import used
from tests.servers.process import Server

SOURCE = Path(__file__).parents[1] / "benthos"
GOGC = "400"  # fewer collections for more memory: a quarter less CPU time


class _ClickHouse(Server):
    def command(self) -> list[str]:
        return [sys.executable, "-m", "benchmarks.rows.clickhouse_http", str(self.port), str(self.directory / "db")]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def usage(self) -> Usage:
        """Return what the server has taken."""
        assert self._process is not None
        status = Path("/proc", str(self._process.pid), "status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return Usage(used(self._process.pid)[1], int(peak.split()[1]) / 1024)

    def stored(self) -> int:
        """Return how many rows there are."""
        with urlopen(self.url) as answer:
            return int(answer.read())


class _Benthos:
    """One run; its CPU time is that of a child of this process."""

    peak_mib = 0.0

    def __init__(self, program: Path, files: list[str], url: str) -> None:
        self._command = [str(program), "run", str(SOURCE / "bench.yaml")]
        self._environment = os.environ | {"FILES": '", "'.join(files), "URL": url, "GOGC": GOGC}

    def run(self) -> None:
        """Run it to its end."""
        process = subprocess.Popen(self._command, env=self._environment)
        _, status, taken = os.wait4(process.pid, 0)
        if status:
            raise RuntimeError(f"benthos ended with {os.waitstatus_to_exitcode(status)}")
        self.peak_mib = taken.ru_maxrss / 1024


def _build(folder: Path) -> Path:
    """Compile the program; Go keeps what it has compiled before.

    Raises:
        Unavailable: Go is missing, or too old, or cannot fetch the modules.
    """
    if shutil.which("go") is None:
        raise Unavailable("Go is not installed")
    program = folder / "benthos"
    built = subprocess.run(["go", "build", "-o", str(program), "."], cwd=SOURCE, check=False, capture_output=True, text=True)
    if built.returncode:
        raise Unavailable(f"go build: {built.stderr.strip().splitlines()[-1]}")
    return program


@contextmanager
def ready(load: Load, folder: str) -> Iterator[Job]:
    """Yield the job."""
    program = _build(Path(folder))
    with _ClickHouse(Path(folder, "clickhouse")) as server:
        benthos = _Benthos(program, load.files, server.url)

        def usage() -> Usage:
            cpu, peak = server.usage()
            return Usage(cpu, peak + benthos.peak_mib)

        yield Job(benthos.run, server.stored, usage)
