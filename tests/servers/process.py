"""Run a real server for tests: on a free port of 127.0.0.1, in a directory of its own, stopped by its own process id."""

import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT = 60
_PORTS = 10_000, 32_000  # Linux gives those from 32,768 on to connections
_PROCESSES = 8
_PROCESS = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_given: set[int] = set()


def free_port() -> int:
    """Return a port that nobody listens on now, and that nobody else is likely to take.

    A server takes it seconds later, and takes it again after it was killed. So it is none of those that the system gives to connections
    (one that knocks at a dead server's port could even be given that very port, and keep it), none that this process was given before,
    and none that another process of pytest-xdist picks.
    """
    while True:
        port = random.SystemRandom().randrange(*_PORTS) // _PROCESSES * _PROCESSES + _PROCESS
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port


def libraries(name: str) -> Path:
    """Return a folder of what tests/servers/install.sh has put into the cache.

    Raises:
        RuntimeError: it is not there.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "sluice", name)
    if not folder.is_dir():
        raise RuntimeError(f"{name} is missing: run tests/servers/install.sh")
    return folder


def wait_until(condition: Callable[[], bool], timeout: float, what: str) -> None:
    """Return as soon as a condition holds; raise TimeoutError if it does not within `timeout` seconds."""
    deadline, pause = time.monotonic() + timeout, 0.01
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(pause)
        pause = min(0.1, pause * 1.2)  # conditions make connections and queries: who waits for long shall leave the machine to the rest


class Server(ABC):
    """A server process that listens on `port`, and keeps its data in `directory` from one start to the next.

    Use it as a context manager; inside, `kill`, `stop` and `start` it as often as needed.
    """

    stop_timeout = 10.0
    """Seconds that the process may take to stop when it is asked to."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line."""

    @property
    def log(self) -> Path:
        """Return the file of what the server wrote to its standard output and error."""
        return self.directory / "server.log"

    def start(self) -> None:
        """Start the process and wait until it takes connections."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.command(), stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_until(self._is_ready, START_TIMEOUT, f"start of {type(self).__name__}")
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Ask the process to stop, and kill it if it does not."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(self.stop_timeout)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None

    def kill(self) -> None:
        """Kill the process as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def pid(self) -> int:
        """Return the process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Return whether it was started, and has not ended."""
        return self._process is not None and self._process.poll() is None

    def pause(self) -> None:
        """Stop the process from running; its connections stay open."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process run."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{type(self).__name__} ended with {self._process.returncode} at its start:\n{tail}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
