"""C4: who holds the health port's connections, or takes all of a supervisor's files, stops neither the stream nor its health checks."""

import os
import resource
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runners import health
from runners.health import serve
from runners.ports import listening
from runners.process import used
from runners.status import Status, encode
from schemas.errors import ConfigError
from tests.servers.process import free_port, wait_until

ROOT = Path(__file__).parents[2]
FILES = 1_024

# A supervisor of the real code, whose workers are a script; they say who they are in the file `workers`.
SUPERVISOR = """
import os, sys
from rich.console import Console
from runners.supervisor import supervise
os.chdir(sys.argv[1])
sys.exit(supervise({}, [], Console(stderr=True), int(sys.argv[2]))[0])
"""
WORKER = f"""
import os, time
open("workers", "a").write(f"{{os.getpid()}}\\n")
while True:
    print({encode(Status("running")).decode()!r}, flush=True)
    time.sleep(0.2)
"""


class Scene:
    """A supervisor with so many files, and its health port."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        package = folder / "runners"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "worker.py").write_text(WORKER)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            command = [sys.executable, "-c", SUPERVISOR, str(folder), str(self.port)]
            self.process = subprocess.Popen(command, cwd=ROOT, stderr=log)
        self.limit(FILES)

    def limit(self, files: int) -> None:
        resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (files, FILES))

    def workers(self) -> list[int]:
        path = self.folder / "workers"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def kill_worker(self) -> int:
        """Kill the worker; return how many there were."""
        os.kill(self.workers()[-1], signal.SIGKILL)
        return len(self.workers())

    def get(self, path: str) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except urllib.error.URLError:
            return 0

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    try:
        wait_until(lambda: found.get("/readyz") == 200, 30, "a worker")
        yield found
        found.process.send_signal(signal.SIGTERM)
        assert found.process.wait(60) == 0
    finally:
        found.process.kill()
        found.process.wait()


@pytest.fixture
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
def test_more_half_requests_than_files(scene: Scene) -> None:
    held = [socket.create_connection(("127.0.0.1", scene.port), timeout=5) for _ in range(FILES + 1)]
    try:
        for connection in held:
            try:
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
            except OSError:
                continue  # cut off by now
        assert scene.get("/healthz") == 200
        assert scene.files() < 2 * health.CONNECTIONS
        before = scene.kill_worker()
        wait_until(lambda: len(scene.workers()) > before and scene.get("/readyz") == 200, 30, "another worker")
    finally:
        for connection in held:
            connection.close()


def test_without_a_file_left_a_worker_is_started_later(scene: Scene) -> None:
    scene.limit(scene.files() - 1)  # fewer than are open: nothing can be opened
    before = scene.kill_worker()
    wait_until(lambda: scene.log.read_text().count("no worker can be started") >= 2, 30, "two tries")
    waiting = [socket.create_connection(("127.0.0.1", scene.port), timeout=5) for _ in range(3)]  # taken by the kernel
    cpu, tries = used(scene.process.pid)[1], scene.log.read_text().count("no worker can be started")
    wait_until(lambda: scene.log.read_text().count("no worker can be started") > tries, 30, "one more try")
    assert used(scene.process.pid)[1] - cpu < 0.5, "it waits between two tries"
    scene.limit(FILES)
    for connection in waiting:
        connection.close()
    wait_until(lambda: len(scene.workers()) > before and scene.get("/readyz") == 200, 30, "another worker")


class Watched:
    status = Status("running")
    restarts = hung = 0
    breaker = reason = ""

    def totals(self) -> dict[str, int]:
        return {}


@pytest.fixture
def ask() -> Iterator[Callable[[bytes], bytes]]:
    """Give what sends bytes to the health port and returns all that comes until it is closed."""
    with serve(Watched(), 0) as port:

        def asked(request: bytes) -> bytes:
            found = b""
            with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
                try:
                    connection.sendall(request)
                    while chunk := connection.recv(1 << 16):
                        found += chunk
                except ConnectionError:
                    pass
            return found

        yield asked


@pytest.mark.parametrize("half", [b"", b"GET", b"GET /healthz HTTP/1.1\r\nHost: a\r\n", b"\r\n"])
def test_who_is_slow_is_cut_off(half: bytes, monkeypatch: pytest.MonkeyPatch, ask: Callable[[bytes], bytes]) -> None:
    monkeypatch.setattr(health, "SECONDS", 0.05)
    assert ask(half) == b""


def test_who_is_large_is_cut_off(ask: Callable[[bytes], bytes]) -> None:
    assert ask(b"GET /healthz HTTP/1.1\r\nA: " + b"a" * (10 << 20)) == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", b"200 OK"),
        (b"GET /healthz?a=b HTTP/1.0\r\n\r\n", b"200 OK"),
        (b"GET /healthz HTTP/1.1\r\n\r\nGET /readyz HTTP/1.1\r\n\r\n", b"200 OK"),  # the second one is not read
        (b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n", b"200 OK"),
        (b"POST /healthz HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"a" * 100_000, b"405 Method Not Allowed"),
        (b"\x00\xff\r\n\r\n", b"400 Bad Request"),
        (b"\r\n\r\n", b"400 Bad Request"),
        (b"GET /healthz SPDY/9\r\n\r\n", b"400 Bad Request"),
        (b"GET  /healthz HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (b"GET /healthz HTTP/1.1\r\n" + b"A: a\r\n" * 1_000 + b"\r\n", b"400 Bad Request"),
        (b"GET /../../etc/passwd HTTP/1.1\r\n\r\n", b"404 Not Found"),
    ],
)
def test_a_connection_gets_one_answer(request_: bytes, status: bytes, ask: Callable[[bytes], bytes]) -> None:
    found = ask(request_)
    if len(request_) < 100_000:  # who still sends may be cut off before it reads the answer
        assert found.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert found.count(b"HTTP/1.1 ") <= 1
    assert ask(b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n"), "others are answered as before"


def test_a_head_has_no_body(ask: Callable[[bytes], bytes]) -> None:
    head = ask(b"HEAD /healthz HTTP/1.1\r\n\r\n")
    assert b"\r\nContent-Length: 3\r\n" in head
    assert head.endswith(b"\r\n\r\n")


def test_it_listens_for_this_machine_unless_it_is_told_where() -> None:
    with serve(Watched(), 0) as port:
        assert ("127.0.0.1", port) in set(listening([os.getpid()]))
        with pytest.raises(ConfigError, match="choose another --health-port"), serve(Watched(), port):
            pass
    with serve(Watched(), 0, "::") as port:
        assert ("::", port) in set(listening([os.getpid()]))
    with pytest.raises(ConfigError, match="cannot listen on 203"), serve(Watched(), 0, "203.0.113.9"):
        pass
