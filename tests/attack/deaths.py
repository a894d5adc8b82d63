"""Killing the engine of ClickHouse at a chosen step: `strace` sends SIGKILL instead of letting the n-th system call of a kind be done."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.servers.process import wait_until

_INGEST = """
import sys
from apache_beam.options.pipeline_options import PipelineOptions
from rich.console import Console
from runners.ingest import run_ingest
run_ingest(PipelineOptions([], source=[sys.argv[1]], sink=sys.argv[2]), Console(stderr=True))
"""


class Step(NamedTuple):
    """The n-th system call of a kind, on some files if any are named."""

    call: str
    number: int
    files: Sequence[Path] = ()

    def strace(self, log: Path) -> list[str]:
        """Return a command that kills what it traces at this step."""
        files = [part for file in self.files for part in ("-P", str(file))]
        kill = ["-e", f"trace={self.call}", "-e", f"inject={self.call}:signal=SIGKILL:when={self.number}", *files]
        return ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(log), *kill]


def part_moved(number: int) -> Step:
    """Return the step in which the n-th part is moved into its place. Its token is in the table's log by then."""
    return Step("rename", number)


def token_noted(number: int, database: Path) -> Step:
    """Return the step in which the n-th token is noted in the log of its table."""
    return Step("write", number, sorted(database.glob("store/*/*/deduplication_logs/*")))


def part_synced(number: int) -> Step:
    """Return the step in which the n-th file, or folder, is written to the disk."""
    return Step("fsync,fdatasync", number)


def ingest_until(step: Step, source: Path, sink: str, log: Path) -> bool:
    """Ingest a file in a process that is killed at a step; return whether it was."""
    command = [*step.strace(log), sys.executable, "-W", "ignore", "-c", _INGEST, str(source), sink]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, -9, 137), done.stderr[-3000:]
    return done.returncode != 0


@contextmanager
def killed_at(step: Step, pid: int, log: Path) -> Iterator[None]:
    """Have a process killed at a step, counted from now on."""
    with subprocess.Popen([*step.strace(log), "-p", str(pid)], stderr=subprocess.DEVNULL) as strace:
        try:
            wait_until(lambda: _is_traced(pid), 30, "strace")
            yield
        finally:
            strace.terminate()


def _is_traced(pid: int) -> bool:
    return all("TracerPid:\t0\n" not in (task / "status").read_text() for task in Path(f"/proc/{pid}/task").iterdir())
